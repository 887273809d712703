#!/usr/bin/env bash
# Sync confidence of a video (--video_path) or of a folder (--videos_dir).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$("$root/setup_env.sh" --python)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m eval.eval_sync_conf "$@"
