# Every target does its own set-up (tools/setup.sh); PYTHON=python3.12 chooses the interpreter,
# ARGS='-k name' goes to pytest.

.PHONY: help build test differential projects demo bench bench-smoke check format \
	asan refleaks uv-poll clean
.DEFAULT_GOAL := help
export PYTHON

# The python of the virtual environment, set up for the kind of work named.
setup = py=$$(tools/setup.sh $(1)) || exit 1;

help:
	@echo "make build     the extension module in place, warnings are errors"
	@echo "make test      the tests"
	@echo "make differential  an hour of random programs on asyncio and on pyasync"
	@echo "make projects  the test suites of other projects on asyncio and on pyasync"
	@echo "make demo      an aiohttp application under load, on asyncio and on pyasync"
	@echo "make bench     every benchmark on every loop; QUICK=1 in 3 minutes, ROW=name LOOPS='a b' a part"
	@echo "make bench-smoke   instructions per operation against the recorded ratios to asyncio"
	@echo "make check     formatting, lint, types, stubs"
	@echo "make asan      the tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make refleaks  reference and block counts, on a debug build: PYTHON=python3.14-dbg"
	@echo "make uv-poll   the tests of sockets with the backend of systems that are not Linux"
	@echo "make clean     removes everything that was built"

build:
	@PYASYNC_DEV=1 tools/setup.sh build >/dev/null

test:
	@$(call setup,test) exec $$py -m pytest $(ARGS)

differential:
	@$(call setup,test) exec $$py -m tests.differential $(or $(ARGS),--minutes 60)

projects:
	@$(call setup,build) exec $$py -m tests.projects $(ARGS)

demo:
	@$(call setup,demo) exec $$py -m benchmarks.demo $(ARGS)

bench:
	@$(call setup,bench) exec $$py -m benchmarks $(if $(QUICK),--quick) \
		$(if $(ROW),--rows $(ROW)) $(if $(LOOPS),--loops $(LOOPS)) $(ARGS)

bench-smoke:
	@$(call setup,smoke) exec $$py -m benchmarks.smoke $(ARGS)

check:
	@PYASYNC_DEV=1 tools/check.sh

format:
	@$(call setup,check) $$py -m ruff check -q --fix .; $$py -m ruff format -q .; \
	find csrc benchmarks -name '*.[ch]' | xargs -r $${py%/*}/clang-format -i

asan:
	@tools/asan.sh $(ARGS)

refleaks: export PYTHON := $(or $(PYTHON),python3.14-dbg)
refleaks:
	@$(call setup,build) exec $$py -m tests.refleaks $(ARGS)

uv-poll:
	@tools/uv_poll.sh $(ARGS)

clean:
	rm -rf build dist *.egg-info .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name '*.so' -delete -o -name __pycache__ -prune -exec rm -rf {} +
