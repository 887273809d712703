#!/usr/bin/env bash
# Trains the U-Net: sets up whatever is missing, then starts one process per GPU, or one on the CPU.
# The same command goes on with a run that was stopped.
#
#   ./train_unet.sh data.train_data_dir=clips           stage 1 at 256 pixels on your clips
#   ./train_unet.sh configs/unet/talkers_stage1.yaml    a small one on clips that it draws itself: minutes on a CPU
#   ./train_unet.sh [config] [section.key=value ...]    see docs/train_unet.md
#
# GPUS=2 ./train_unet.sh ... takes the first two GPUs only.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$("$root/setup_env.sh" --training)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
config="$root/configs/unet/stage1.yaml"
if [[ "${1:-}" == *.yaml ]]; then
  config="$1"
  shift
fi
gpus="${GPUS:-$("$python" -c 'import torch; print(torch.cuda.device_count())')}"
launcher=("$python")
if [ "$gpus" -gt 1 ]; then
  launcher=("$python" -m torch.distributed.run --standalone --nproc_per_node "$gpus")
fi
exec "${launcher[@]}" -m scripts.train_unet --unet_config_path "$config" "$@"
