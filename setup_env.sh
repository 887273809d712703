#!/usr/bin/env bash
# Makes the Python environment that everything here runs in, and changes nothing that is already right.
#
#   source setup_env.sh                            set up, and activate the environment in this shell
#   source setup_env.sh --checkpoints inference    the same, and fetch weights for inference, training, data or eval;
#                                                  more arguments go to scripts.download_checkpoints (--variant 1.5)
#   ./setup_env.sh [--checkpoints ...]             the same without activating: says which Python to use
#   ./setup_env.sh --python | --training | --tests    print only the path of that Python (the other scripts use this);
#                                                  for training and for tests more packages are installed
#
# The environment is .venv beside this file, or the one that LATENTSYNC_VENV names. An environment that you have
# activated yourself (venv or conda) is used as it is: missing packages are added, a torch that is there stays.
# LATENTSYNC_OFFLINE=1 does without the 4 MB of face detector that are fetched otherwise.

# Sourced, a process of its own does the work: the shell keeps its options and traps, and nothing here can end it.
# Bash, zsh and plainer shells alike read as far as the end of this block.
_latentsync_file=""
if [ -n "${ZSH_VERSION:-}" ]; then
  case "$ZSH_EVAL_CONTEXT" in *:file*) _latentsync_file="${(%):-%x}" ;; esac
elif [ -n "${BASH_VERSION:-}" ]; then
  [ "${BASH_SOURCE[0]}" = "$0" ] || _latentsync_file="${BASH_SOURCE[0]}"
fi
if [ -n "$_latentsync_file" ]; then
  _latentsync_failed=""
  _latentsync_environment="$(bash "$_latentsync_file" --sourced "$@")" || _latentsync_failed=yes
  case "$_latentsync_environment" in
    "" | "${VIRTUAL_ENV:-${CONDA_PREFIX:-}}") ;; # none was made, or it is active
    *) . "$_latentsync_environment/bin/activate" ;;
  esac
  unset _latentsync_file _latentsync_environment
  if [ -n "$_latentsync_failed" ]; then
    unset _latentsync_failed
    return 1
  fi
  unset _latentsync_failed
  return 0
fi
unset _latentsync_file
if [ -z "${BASH_VERSION:-}" ]; then
  case "$0" in
    *setup_env.sh) exec bash "$0" "$@" ;; # sh setup_env.sh
    *)
      echo "setup_env.sh can be sourced by bash and zsh; elsewhere run it, then activate .venv yourself." >&2
      return 1
      ;;
  esac
fi

set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

say() { printf '%s\n' "$*" >&2; }
die() { say "setup_env.sh: $*"; exit 1; }

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  die "Python 3.11 or newer is needed and was not found. On Debian or Ubuntu: apt-get install python3 python3-venv"
}

make_environment() {
  if [ -n "${LATENTSYNC_VENV:-}" ]; then
    case "$LATENTSYNC_VENV" in /*) venv="$LATENTSYNC_VENV" ;; *) venv="$PWD/$LATENTSYNC_VENV" ;; esac
  elif [ -n "${VIRTUAL_ENV:-${CONDA_PREFIX:-}}" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ]; then
    venv="${VIRTUAL_ENV:-$CONDA_PREFIX}"
  else
    venv="$root/.venv"
  fi
  python="$venv/bin/python"
  if [ ! -x "$python" ]; then
    local base
    base="$(find_python)"
    say "Making a Python environment in $venv ..."
    "$base" -m venv "$venv" ||
      die "$base cannot make a virtual environment. On Debian or Ubuntu: apt-get install python3-venv"
  fi
}

pip() { "$python" -m pip --disable-pip-version-check "$@" >&2; }

# install_packages FILE...: requirement files, each installed once per content: a stamp holds its checksum.
install_packages() {
  local file options=() kept constraints
  for file in "$@"; do
    [ "$(cat "$venv/.latentsync-$file" 2>/dev/null)" = "$(cksum <"$root/$file")" ] || options+=(-r "$root/$file")
  done
  [ ${#options[@]} -gt 0 ] || return 0
  say "Installing the Python packages (about 7 GB with torch; some minutes) ..."
  [ -t 2 ] || options+=(--quiet) # nobody is watching
  # Left to itself, pip replaces a torch by one that fits the newest torchvision.
  kept="$("$python" -c '
from importlib import metadata
for name in ("torch", "torchvision"):
    try:
        print(f"{name}=={metadata.version(name)}")
    except metadata.PackageNotFoundError:
        pass
')"
  constraints="$(mktemp)"
  printf '%s\n' "$kept" >"$constraints"
  pip install -c "$constraints" "${options[@]}" || {
    rm -f "$constraints"
    [ -z "$kept" ] || say "What was here stays: ${kept//$'\n'/, }. If pip found nothing to go with it (its messages are" \
      "above), install the torchvision of that torch from where the torch came from, and run this again."
    die "pip could not install the packages; its messages are above."
  }
  rm -f "$constraints"
  for file in "$@"; do
    cksum <"$root/$file" >"$venv/.latentsync-$file"
  done
}

# OpenCV's usual build shows windows, and for them needs system libraries (libGL) that a bare machine lacks. Nothing here
# opens a window, so where it does not load, its build without windows takes its place, under the same name for Python.
make_opencv_load() {
  "$python" -c 'import cv2' 2>/dev/null && return
  local version
  version="$("$python" -c 'from importlib import metadata; print(metadata.version("opencv-python"))' 2>/dev/null)" ||
    version="$("$python" -c 'from importlib import metadata; print(metadata.version("opencv-python-headless"))')"
  say "A system library of OpenCV's windows is not here (libGL or the like): taking its build without windows ..."
  pip uninstall --quiet -y opencv-python opencv-python-headless
  pip install --quiet --no-deps "opencv-python-headless==$version" ||
    die "OpenCV does not load. On Debian or Ubuntu run as root: apt-get install libgl1 libglib2.0-0 libxcb1"
  "$python" -c 'import cv2' || die "OpenCV does not load (see above)."
}

# The face detector of every video that is not the sample: freely licensed, checked against known checksums. Without a
# network the set-up goes on, and a run that needs it says what is missing.
fetch_face_detector() {
  local folder="$root/checkpoints/auxiliary" name
  [ "${LATENTSYNC_OFFLINE:-0}" = 0 ] || return 0
  for name in "$folder"/*yunet*.onnx; do
    if [ -f "$name" ] && [ -f "$folder/face_landmarker.task" ]; then return 0; fi
  done
  download --face-detector || say "Going on without it (LATENTSYNC_OFFLINE=1 does not try)."
}

download() { PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$python" -m scripts.download_checkpoints "$@" >&2; }

# The tests of the page skip themselves without a browser, so that it cannot be installed is no error here.
install_browser() {
  local name as_root=(env)
  for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && return
  done
  say "Installing Chromium for the tests of the page ..."
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null 2>&1 && "${as_root[@]}" true 2>/dev/null &&
    { "${as_root[@]}" apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are there."; } &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      chromium fonts-dejavu-core >&2 ||
    say "Chromium could not be installed: the tests that need it are skipped."
}

purpose=""
mode="${1:-}"
if [ "$mode" = --sourced ]; then # what follows may be arguments of the user's own script: only --checkpoints is for here
  shift
  [ "${1:-}" = --checkpoints ] || set --
elif [ "$mode" != --checkpoints ]; then
  [ $# -le 1 ] || die "One option at a time: --python, --training, --tests or --checkpoints PURPOSE."
  set --
fi
if [ "${1:-}" = --checkpoints ]; then
  purpose="${2:-}"
  case "$purpose" in
    inference | training | data | eval) shift 2 ;;
    *) die "--checkpoints needs one of inference, training, data, eval." ;;
  esac
fi

packages=(requirements.txt requirements-page.txt requirements-serve.txt)
packages+=(requirements-metrics.txt requirements-data.txt requirements-cluster.txt)
case "$mode" in
  "" | --python | --sourced | --checkpoints) ;;
  --training) packages+=(requirements-train.txt) ;;
  --tests)
    packages+=(requirements-train.txt requirements-c2pa.txt requirements-otio.txt requirements-live.txt)
    packages+=(requirements-dev.txt) # Ray Serve is for a trial of minutes that nobody runs by default
    ;;
  *) die "There is no option $mode; the first lines of this file say what there is." ;;
esac
[ "$purpose" != training ] || packages+=(requirements-train.txt)

make_environment
install_packages "${packages[@]}"
make_opencv_load
[ "$mode" != --sourced ] || printf '%s\n' "$venv" # ready, whatever becomes of the weights
if [ -n "$purpose" ]; then
  download --for "$purpose" "$@" || die "Not all weights were fetched (see above); the environment is ready."
fi
if [ "$mode" = --tests ]; then
  install_browser
else
  fetch_face_detector
fi

case "$mode" in
  --python | --training | --tests) printf '%s\n' "$python" ;;
  --sourced) say "Ready: $venv is active." ;;
  *) say "Ready. Python: $python" ;;
esac
