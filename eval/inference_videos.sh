#!/usr/bin/env bash
# Dubs a set of videos with the models loaded once.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$("$root/setup_env.sh" --python)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m eval.inference_videos "$@"
