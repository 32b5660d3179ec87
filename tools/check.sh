#!/usr/bin/env bash
# make check: everything that reads the code without running the tests. All steps run; the exit
# status is that of the worst.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
py=$(tools/setup.sh check) || exit 1   # builds too, with PYASYNC_DEV=1: warnings are errors
bin=${py%/*}
status=0

step() {
    local output
    if output=$("${@:2}" 2>&1); then
        echo "ok      $1"
    else
        printf 'FAILED  %s\n%s\n' "$1" "$output"
        status=1
    fi
}

step clang-format bash -c "find csrc benchmarks -name '*.[ch]' | xargs -r '$bin/clang-format' --dry-run -Werror"
step "ruff check" "$py" -m ruff check .
step "ruff format" "$py" -m ruff format --check .
step "mypy --strict" "$py" -m mypy
step stubtest "$py" -m mypy.stubtest pyasync._core --allowlist tools/stubtest.allow
exit $status
