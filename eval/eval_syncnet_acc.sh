#!/usr/bin/env bash
# Accuracy of a trained sync network on validation clips, as JSON.
#
#   eval/eval_syncnet_acc.sh configs/syncnet/talkers.yaml
#   eval/eval_syncnet_acc.sh [config] [--json_path FILE] [--seed N] [section.key=value ...]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$("$root/setup_env.sh" --training)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
config="$root/configs/syncnet/syncnet_16_pixel_attn.yaml"
if [[ "${1:-}" == *.yaml ]]; then
  config="$1"
  shift
fi
exec "$python" -m eval.eval_syncnet_acc --config_path "$config" "$@"
