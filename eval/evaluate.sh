#!/usr/bin/env bash
# Scores results against the truth: a table, a page with images, JSON and CSV.
#
#   eval/evaluate.sh --results DIR --truth DIR [--source DIR] [--output DIR]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$("$root/setup_env.sh" --python)"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m eval.evaluate "$@"
