"""A few hundred programs, always the same, on asyncio and on pyasync; and asyncio on itself."""

import pytest

from .families import FAMILIES
from .search import LOOPS, search

pytestmark = pytest.mark.timeout(240)

PROGRAMS = {"scheduling": 200, "connections": 60, "streams": 60}


@pytest.mark.parametrize("family", FAMILIES)
def test_same_as_asyncio(family):
    ran, difference = search(family, PROGRAMS[family], 2026, LOOPS["pyasync"])
    if difference is not None:
        pytest.fail(str(difference))
    assert ran >= PROGRAMS[family] * 0.9  # hypothesis may leave out programs that it had


@pytest.mark.parametrize("family", FAMILIES)
def test_programs_are_deterministic(family):
    ran, difference = search(family, PROGRAMS[family] // 4, 2027, LOOPS["asyncio"])
    if difference is not None:
        pytest.fail(str(difference))
