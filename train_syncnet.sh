#!/usr/bin/env bash
# Trains a sync network: sets up whatever is missing, then starts one process per GPU, or one on the CPU.
# The same command goes on with a run that was stopped.
#
#   ./train_syncnet.sh data.train_data_dir=clips           the published network on your clips
#   ./train_syncnet.sh configs/syncnet/talkers.yaml        a small one on clips that it draws itself: minutes on a CPU
#   ./train_syncnet.sh [config] [section.key=value ...]    see docs/train_syncnet.md
#
# GPUS=2 ./train_syncnet.sh ... takes the first two GPUs only.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$("$root/setup_env.sh" --training)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
config="$root/configs/syncnet/syncnet_16_pixel_attn.yaml"
if [[ "${1:-}" == *.yaml ]]; then
  config="$1"
  shift
fi
gpus="${GPUS:-$("$python" -c 'import torch; print(torch.cuda.device_count())')}"
launcher=("$python")
if [ "$gpus" -gt 1 ]; then
  launcher=("$python" -m torch.distributed.run --standalone --nproc_per_node "$gpus")
fi
exec "${launcher[@]}" -m scripts.train_syncnet --config_path "$config" "$@"
