#!/usr/bin/env bash
# make asan: the tests, and CPython's own of tasks and futures, with AddressSanitizer and
# UndefinedBehaviorSanitizer. ARGS go to pytest.
#
# The instrumented module has the same file name as the plain one, so it is built and run in a copy
# of the tree, build/asan-X.Y. AddressSanitizer reports to files there, for tools/asan_report.py; the
# other one can only print and end the process, so pytest leaves the descriptors alone.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
py=$(tools/setup.sh test) || exit 1
tree=$PWD/build/asan-${py#*.venv-}
tree=${tree%/bin/python}

# objects of the last run stay in $tree/build
mkdir -p "$tree" && find "$tree" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
tar -c --exclude=./build --exclude='./.*' --exclude='*.so' --exclude=__pycache__ . | tar -x -C "$tree"
cd "$tree" || exit 1
PYASYNC_ASAN=1 "$py" setup.py -q build_ext --inplace || exit 1

reports=$tree/reports
mkdir "$reports"
library() { "${CC:-gcc}" -print-file-name="lib$1.so"; }
under_asan() {
    env LD_PRELOAD="$(library asan):$(library ubsan)" \
        PYTHONPATH="$tree" PYTHONMALLOC=malloc PYASYNC_ASAN=1 \
        ASAN_OPTIONS="log_path=$reports/asan:abort_on_error=1:exitcode=0:detect_leaks=1:allocator_may_return_null=1" \
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1" \
        "$@"
}

status=0
# The tests of the tools and of pyasync.flow, which is Python on asyncio's public API, have no
# business with the extension module, and are slow here; the examples have to end in time.
left_out=(--ignore=tests/flow --ignore=tests/differential)
for name in build cpython_runner examples load_generator pytest_plugin refleaks; do
    left_out+=(--ignore="tests/test_$name.py")
done
# Without faulthandler: it would take the signals that AddressSanitizer reports on.
tests() {
    under_asan "$py" -m pytest -p no:faulthandler -p no:cacheprovider \
        --capture=sys --timeout=240 "${left_out[@]}" "$@"
}
# LeakSanitizer looks for leaks as the process ends, from a process of its own; when that crashes,
# nothing has been looked for: once more.
tracer_crashed() { grep -lE '^Tracer caught signal' "$reports"/*; }
if ! tests "$@"; then
    crashed=$(tracer_crashed) || status=1
    if [ -n "$crashed" ]; then
        echo "LeakSanitizer's own process crashed: the tests run again"
        rm $crashed
        tests "$@" || status=1
    fi
fi
if [ $# = 0 ]; then
    under_asan "$py" -m tests.cpython tasks futures || status=1
fi
"$py" tools/asan_report.py "$reports" || status=1
exit $status
