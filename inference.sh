#!/usr/bin/env bash
# Dubs a video: sets up whatever is missing, then runs the command line with the arguments given.
#
#   ./inference.sh --video_path in.mp4 --audio_path speech.wav --video_out_path out.mp4
#   ./inference.sh                      the sample of this repository, into output/sample.mp4
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$("$root/setup_env.sh" --python)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
if [ $# -eq 0 ]; then
  mkdir -p "$root/output"
  set -- --video_path "$root/assets/sample_video.mp4" --audio_path "$root/assets/sample_audio.wav" \
    --video_out_path "$root/output/sample.mp4" --detector "$root/assets/sample_faces.npz" --overwrite
fi
exec "$python" -m scripts.inference "$@"
