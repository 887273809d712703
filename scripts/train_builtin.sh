#!/usr/bin/env bash
# Trains the built-in models (checkpoints/builtin) on synthetic talkers: sets up whatever is missing, then does every
# step that is not complete. Hours on two CPU cores. Stopped, the same command goes on; see docs/train_builtin.md.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$("$root/setup_env.sh" --training)"
cd "$root"
exec "$python" -m scripts.train_builtin "$@"
