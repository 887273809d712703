#!/usr/bin/env bash
# Turns a folder of videos into clips fit for training: sets up whatever is missing, then runs the eight steps.
# The same command goes on with a run that was stopped or killed. The input is only read.
#
#   ./data_processing_pipeline.sh input_dir=/data/raw                     results beside it: /data/high_visual_quality
#   ./data_processing_pipeline.sh [config.yaml] [key=value ...]           see configs/preprocess.yaml and docs/data.md
#   ./data_processing_pipeline.sh --ray-address auto input_dir=...        the same on a cluster
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$("$root/setup_env.sh" --python)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
config="$root/configs/preprocess.yaml"
if [[ "${1:-}" == *.yaml ]]; then
  config="$1"
  shift
fi
exec "$python" -m scripts.data_processing_pipeline --config_path "$config" "$@"
