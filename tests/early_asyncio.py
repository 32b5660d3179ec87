"""What asyncio itself got wrong in the first releases of Python 3.11, which some systems still have.

The tests below prove behaviour that asyncio has from 3.11.7 on; on older releases the variants that
run on asyncio, or compare with it, are skipped with the reason given here.
"""

import sys
from fnmatch import fnmatchcase

# pattern over the file and name of a test with its parameters -> what asyncio before 3.11.7 does
MISTAKES = {
    "test_flow_control.py::test_pausing_in_connection_made[[]asyncio*": "reads although connection_made() paused it",
    "test_reentrancy.py::test_what_protocol_and_peer_see[[]*connection_made-pause_reading*": (
        "reads although connection_made() paused it"
    ),
    "test_stream_api.py::test_a_handler_that_fails_is_reported*": "says nothing of a stream handler that fails",
    "test_datagrams.py::test_pausing_in_datagram_received[[]asyncio*": "has no pause_reading() for datagrams",
    "test_datagrams.py::test_closing_in_datagram_received[[]asyncio*": "has no pause_reading() for datagrams",
    "test_datagrams.py::test_an_error_does_not_lose_the_datagrams_behind_it[[]asyncio*": (
        "has no pause_reading() for datagrams"
    ),
    "test_datagrams.py::test_an_exit_in_datagram_received_ends_the_run_and_loses_nothing[[]asyncio*": (
        "has no pause_reading() for datagrams"
    ),
    "test_datagrams.py::test_repr[[]*": "has no pause_reading() for datagrams",
}


def mistake_in(nodeid: str) -> str | None:
    """Why a test is skipped on the running Python, None if it is not."""
    if sys.version_info >= (3, 11, 7):
        return None
    for pattern, mistake in MISTAKES.items():
        if fnmatchcase(nodeid.rpartition("/")[2], pattern):
            release = ".".join(map(str, sys.version_info[:3]))
            return f"asyncio of Python {release} {mistake}"
    return None
