#!/usr/bin/env bash
# FVD between two folders of videos: --results DIR --truth DIR.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$("$root/setup_env.sh" --python)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m eval.eval_fvd "$@"
