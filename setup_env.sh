#!/usr/bin/env bash
# Makes the Python environment that everything here runs in, and changes nothing that is already right.
#
#   ./setup_env.sh            set up, then say which Python to use
#   ./setup_env.sh --python   the same, but print only the path of that Python (the other scripts use this)
#   ./setup_env.sh --tests    the same as --python, and the browser that the tests of the page drive
#
# The environment is .venv beside this file, or the one that LATENTSYNC_VENV names. An environment that you have
# activated yourself (venv or conda) is used as it is: missing packages are added, a torch that is there stays.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
requirements="$root/requirements.txt"

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
    venv="$LATENTSYNC_VENV"
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

# Installed once per content of requirements.txt: the stamp holds its checksum.
install_packages() {
  local stamp="$venv/.latentsync-requirements" wanted
  wanted="$("$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$requirements")"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  say "Installing the Python packages (about 7 GB with torch; some minutes) ..."
  local quiet=(--quiet)
  [ -t 2 ] && quiet=() # somebody is watching
  "$python" -m pip install --disable-pip-version-check "${quiet[@]}" -r "$requirements" >&2 ||
    die "pip could not install requirements.txt; its messages are above."
  printf '%s' "$wanted" >"$stamp"
}

# apt_install PACKAGE...: fails where there is no apt-get, no right to use it, or no network.
apt_install() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } || return
  "${as_root[@]}" apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are there."
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# OpenCV's wheel needs three system libraries that a bare machine lacks.
install_system_libraries() {
  "$python" -c 'import cv2' 2>/dev/null && return
  local packages=(libgl1 libglib2.0-0 libxcb1)
  say "Installing the system libraries that OpenCV needs: ${packages[*]} ..."
  apt_install "${packages[@]}" || say "apt-get could not install them."
  "$python" -c 'import cv2' >/dev/null ||
    die "OpenCV does not load (see above). On Debian or Ubuntu run as root: apt-get install ${packages[*]}"
}

# The tests of the page skip themselves without a browser, so that it cannot be installed is no error here.
install_browser() {
  local name
  for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null 2>&1 && return
  done
  say "Installing Chromium for the tests of the page ..."
  apt_install chromium fonts-dejavu-core || say "Chromium could not be installed: the tests that need it are skipped."
}

make_environment
install_packages
install_system_libraries

case "${1:-}" in
  --python) printf '%s\n' "$python" ;;
  --tests)
    install_browser
    printf '%s\n' "$python"
    ;;
  *) say "Ready. Python: $python" ;;
esac
