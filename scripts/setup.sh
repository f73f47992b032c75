#!/bin/sh
# Makes the virtual environment: scripts/setup.sh VENV PYTHON TORCH_CPU_INDEX
# On Linux without an NVIDIA GPU the default index would bring 5 GB of CUDA, so PyTorch's own CPU index is tried first.
set -eu
venv=$1 python=$2 cpu_index=$3

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: '$python' is not Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 setup" >&2
    exit 2
fi
if ! [ -x "$venv/bin/python" ] && ! "$python" -m venv "$venv"; then
    echo "setup: '$python' cannot make a virtual environment in $venv; its reason is above." >&2
    echo "setup: on Debian and Ubuntu run 'sudo apt install python3-venv' once; then run 'make setup' again." >&2
    exit 1
fi

if command -v uv >/dev/null 2>&1; then
    install() { VIRTUAL_ENV=$venv uv pip install --quiet "$@"; }
    quick() { UV_HTTP_TIMEOUT=10 UV_HTTP_RETRIES=0 install "$@"; }
else
    install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
    quick() { PIP_DEFAULT_TIMEOUT=10 install --retries 0 "$@"; }
fi

said=$(mktemp)
trap 'rm -f "$said"' EXIT

has_torch() { "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; }

if ! has_torch && [ "$(uname -s)" = Linux ] && ! [ -e /proc/driver/nvidia/version ]; then
    echo "setup: no GPU seen, asking PyTorch's index for its CPU build"
    quick -c constraints.txt --index-url "$cpu_index" torch >"$said" 2>&1 ||
        echo "setup: no torch from there ($(grep -v '^ *$' "$said" | tail -n 1)); going on with the default index"
fi
echo "setup: installing the kit and its tools (about 1 GB, once; a few minutes)"
if ! install -c constraints.txt -e '.[dev]' >"$said" 2>&1; then
    tail -n 15 "$said" >&2
    echo "setup: not everything could be installed; the lines above are the installer's last ones." >&2
    echo "setup: mend what they name (network, disk space, a proxy) and run 'make setup' again: it goes on from there." >&2
    exit 1
fi
