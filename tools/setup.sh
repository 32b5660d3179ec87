#!/usr/bin/env bash
# Makes what a make target needs, and prints the path of the virtual environment's python.
#
#   tools/setup.sh build|test|check|demo|bench|smoke     PYTHON=... chooses the interpreter
#
# System packages (Debian and Ubuntu, with root or sudo), the virtual environment .venv-X.Y (or
# .venv-X.Y-dbg), its packages, the extension module and an editable install. Each part is made only
# if it is missing or out of date, so a second call is quick. Only the path goes to standard output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kind=${1:-build}
exec 3>&1 1>&2

fail() { printf 'setup: %s\n' "$*"; exit 1; }

# --- the interpreter: PYTHON, else the first of 3.11 to 3.15 ---------------------------------------
supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 15))' 2>/dev/null; }
find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || fail "PYTHON=$PYTHON is not a Python of 3.11 to 3.15"
        echo "$PYTHON"; return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.15; do
        if supported "$candidate"; then echo "$candidate"; return; fi
    done
    fail "no Python of 3.11 to 3.15 on PATH; install one or name it with PYTHON=..."
}
python=$(find_python 3>&1) || { echo "$python"; exit 1; }
python=$("$python" -c 'import sys; print(sys.executable)')
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
debug=$("$python" -c 'import sys; print("-dbg" if hasattr(sys, "gettotalrefcount") else "")')
venv=$PWD/.venv-$version$debug

# --- system packages -------------------------------------------------------------------------------
from_distribution() { command -v dpkg >/dev/null && dpkg -S "$(readlink -f "$python")" >/dev/null 2>&1; }
missing_packages() {
    printf '#include <stdlib.h>\n' | "${CC:-gcc}" -E - >/dev/null 2>&1 || echo gcc libc6-dev
    command -v pkg-config >/dev/null && pkg-config --atleast-version=1.44 libuv || echo pkg-config libuv1-dev
    if from_distribution; then
        "$python" -c 'import os, sys, sysconfig as s
sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || echo "libpython$version-dev"
        "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "python$version-venv"
    fi
    # the load generator speaks TLS
    case $kind in test | demo | bench) pkg-config --exists openssl 2>/dev/null || echo libssl-dev ;; esac
    case $kind in demo | bench) command -v wrk >/dev/null || echo wrk ;; esac
    case $kind in bench | smoke) command -v openssl >/dev/null || echo openssl ;; esac
    case $kind in smoke) command -v valgrind >/dev/null || echo valgrind ;; esac
}
mkdir -p build
exec 4>build/apt.lock   # one interpreter's set-up at a time
[ -z "$(missing_packages)" ] || flock 4
packages=$(missing_packages | tr '\n' ' ')
if [ -n "$packages" ] && command -v apt-get >/dev/null; then
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "root or sudo is needed to install: $packages"
        sudo=sudo
    fi
    echo "setup: installing $packages"
    log=$(mktemp)
    { $sudo apt-get update -q &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            ca-certificates $packages; } >"$log" 2>&1 || { cat "$log"; fail "apt-get failed"; }
    rm -f "$log"
fi   # elsewhere setup.py names what is missing and the packages
exec 4>&-

# --- virtual environment and its packages ----------------------------------------------------------
exec 4>"build/setup$version$debug.lock"
flock 4
home=$(dirname "$python")
if ! grep -qsxF "home = $home" "$venv/pyvenv.cfg" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "setup: making ${venv##*/} with $python"
    "$python" -m venv --clear "$venv"
fi
py=$venv/bin/python
wanted=$(cksum <pyproject.toml)
for group in build $([ "$kind" = build ] || echo "$kind"); do
    stamp=$venv/.group-$group
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "setup: installing the packages of group $group"
        [ "$group" != build ] || "$py" -m pip install -q --disable-pip-version-check -U 'pip>=25.1'
        "$py" -m pip install -q --disable-pip-version-check --group "$group"
        echo "$wanted" >"$stamp"
    fi
done

# --- the extension module, then the editable install (metadata and entry point) --------------------
"$py" setup.py -q build_ext --inplace
stamp=$venv/.installed
if [ "$(cat "$stamp" 2>/dev/null)" != "$PWD $wanted" ]; then
    # The metadata is written into the source tree first: one interpreter at a time.
    flock build/install.lock "$py" -m pip install -q --disable-pip-version-check \
        --no-build-isolation --no-deps -e .
    echo "$PWD $wanted" >"$stamp"
fi
echo "$py" >&3
