#!/bin/sh
# Makes the virtual environment and installs this checkout into it, editable, with uv where present and pip otherwise.
#   tools/install.sh        what settings.ini lists as requirements
#   tools/install.sh dev    the same, and dev_requirements
# A stamp inside the environment says what was installed; nothing happens while it still holds. An environment made here that an interrupted
# installation left unfinished is made anew.
# VENV: the environment's folder (.venv).  PYTHON: the interpreter.  UV: the uv command, `no` for pip.  UV_TORCH_BACKEND: uv's own, `cpu` avoids CUDA.
set -eu
extra=${1:-}
venv=${VENV:-.venv}
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

key="$(cat settings.ini setup.py pyproject.toml | cksum) $(pwd)"
holds() { [ -f "$1" ] && [ "$(cat "$1")" = "$key" ] && recent "$venv/bin/python"; }
if holds "$venv/installed-dev" || { [ -z "$extra" ] && holds "$venv/installed"; }; then exit 0; fi

uv=${UV:-uv}
if [ "$uv" = no ] || ! command -v "$uv" >/dev/null 2>&1; then uv=; fi
if [ -z "$uv" ] && [ -n "${UV_TORCH_BACKEND:-}" ]; then
    die "UV_TORCH_BACKEND=$UV_TORCH_BACKEND is a setting of uv, and uv is not used here (to get it: pip install uv)."
fi

# the environment: `unfinished` lies in one that was made here, until its first installation is through
whole() {
    recent "$venv/bin/python" && [ ! -f "$venv/unfinished" ] && { [ -n "$uv" ] || "$venv/bin/python" -m pip --version >/dev/null 2>&1; }
}
if ! whole; then
    python=${PYTHON:-}
    if [ -n "$python" ]; then
        recent "$python" || die "PYTHON=$python is not a Python 3.11 or newer."
    else
        for p in python3 python3.13 python3.12 python3.11 python; do
            if recent "$p"; then python=$p; break; fi
        done
        [ -n "$python" ] || die "Python 3.11 or newer is needed and none was found ($(python3 --version 2>&1 || true))." \
            "Install one, or name it: make PYTHON=/path/to/python3.11"
    fi
    if [ "$venv" != .venv ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ] && ! [ -f "$venv/unfinished" ] && ! [ -f "$venv/installed" ] && ! [ -f "$venv/installed-dev" ]; then
        die "VENV=$venv is neither empty nor a virtual environment that works; give another folder."
    fi
    say "Making $venv with $("$python" --version)."
    mkdir -p "$venv"
    if [ -n "$uv" ]; then
        rm -rf "$venv/pyvenv.cfg" "$venv/bin" "$venv/lib" "$venv/lib64"
        "$uv" venv --quiet --allow-existing --python "$python" "$venv"
    elif ! "$python" -m venv --clear "$venv" >/dev/null 2>&1; then       # Debian's python3 without python3-venv has no ensurepip
        "$python" -m venv --clear --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --quiet pip ||
            die "pip could not be put into $venv. On Debian and Ubuntu: apt-get install python3-venv"
    fi
    : > "$venv/unfinished"
fi

# the packages
target=.${extra:+[$extra]}
start=$(date +%s)
rm -f "$venv/installed" "$venv/installed-dev"
if [ -n "$uv" ]; then
    say "Installing with $("$uv" --version)${UV_TORCH_BACKEND:+, torch backend $UV_TORCH_BACKEND}. This takes some minutes the first time."
    "$uv" pip install --quiet --python "$venv/bin/python" -e "$target" ||
        die "uv could not install the requirements. To use pip instead: make UV=no install"
else
    say "Installing with $("$venv/bin/python" -m pip --version | cut -d' ' -f1-2). This takes some minutes the first time."
    PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install -qq --disable-pip-version-check -e "$target" ||
        die "pip could not install the requirements."
fi
rm -f "$venv/unfinished"
printf '%s' "$key" > "$venv/installed${extra:+-$extra}"
say "Installed in $(($(date +%s) - start)) s."
