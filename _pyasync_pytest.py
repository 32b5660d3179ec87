"""The pytest entry point of pyasync: two settings, and nothing else until one of them asks.

pytest imports this module in every run of an environment that has pyasync, so it stands outside the
package and imports neither pyasync nor asyncio; pyasync/pytest_plugin.py does the work when asked.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --pyasync and the ini setting of the same name."""
    parser.getgroup("pyasync").addoption(
        "--pyasync",
        action="store_true",
        default=None,
        help="run the tests of pytest-asyncio, anyio and IsolatedAsyncioTestCase on pyasync",
    )
    parser.addini(
        "pyasync", type="bool", default=False, help="the same as --pyasync, for every run"
    )


@pytest.hookimpl(trylast=True)  # the plugins to be switched have their hooks and fixtures by now
def pytest_configure(config: pytest.Config) -> None:
    """Registers the plugin proper when this run is to be on pyasync."""
    if config.getoption("pyasync") or config.getini("pyasync"):
        from pyasync import pytest_plugin

        pytest_plugin.switch_on(config)
