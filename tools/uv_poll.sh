#!/usr/bin/env bash
# make uv-poll: the tests of sockets, pipes, threads and signals with csrc/loop/backend_uv.c, which
# Linux has no other use for. ARGS go to pytest. Built and run in a copy of the tree,
# build/uv-poll-X.Y, because the module has the same file name as the plain one.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
py=$(tools/setup.sh test) || exit 1
tree=$PWD/build/uv-poll-${py#*.venv-}
tree=${tree%/bin/python}

# objects of the last run stay in $tree/build
mkdir -p "$tree" && find "$tree" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
tar -c --exclude=./build --exclude='./.*' --exclude='*.so' --exclude=__pycache__ . | tar -x -C "$tree"
cd "$tree" || exit 1
PYASYNC_UV_POLL=1 "$py" setup.py -q build_ext --inplace || exit 1

tests=()
for name in watchers socket_operations tcp_echo servers connect connecting closing flow_control datagrams \
    unix_sockets tls fork running signals threads timers order pipes_and_subprocesses \
    many_connections memory reentrancy; do
    tests+=("tests/test_$name.py")
done
# libuv ends the process when it cannot poll any more: no test can survive that
PYTHONPATH=$tree exec "$py" -m pytest -p no:cacheprovider -k "not cannot_poll" "${tests[@]}" "$@"
