#!/usr/bin/env bash
# Sets up whatever is missing, then runs the style check, the type checker and the tests. Arguments go to pytest
# (./run_tests.sh --slow).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python="$("$root/setup_env.sh" --tests)"
cd "$root"
"$python" -m ruff check .
"$python" -m mypy
# One process per core, up to four, each with whole files of tests in the order of tests/conftest.py; with
# `./run_tests.sh -n 0` all run in this one.
exec "$python" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
