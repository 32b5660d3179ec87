"""What asyncio itself got wrong in the first releases of Python 3.11, which are still in use.

The tests below prove behaviour that asyncio has from 3.11.7 on; on older releases the variants that
run on asyncio, or compare with it, are skipped with the reason given here.
"""

import sys
from fnmatch import fnmatchcase

NO_PAUSE = "reads although connection_made() paused it"
NO_REPORT = "says nothing of a stream handler that fails"
PLAIN_DATAGRAMS = "has no pause_reading() for datagrams"

# file, pattern over the test's name with its parameters, what asyncio before 3.11.7 does
MISTAKES = [
    ("test_flow_control", "test_pausing_in_connection_made[[]asyncio*", NO_PAUSE),
    ("test_reentrancy", "test_what_*[[]*connection_made-pause_reading*", NO_PAUSE),
    ("test_stream_api", "test_a_handler_that_fails_is_reported*", NO_REPORT),
    ("test_datagrams", "test_pausing_in_datagram_received[[]asyncio*", PLAIN_DATAGRAMS),
    ("test_datagrams", "test_closing_in_datagram_received[[]asyncio*", PLAIN_DATAGRAMS),
    ("test_datagrams", "test_an_error_does_not_lose_*[[]asyncio*", PLAIN_DATAGRAMS),
    ("test_datagrams", "test_an_exit_in_datagram_received_*[[]asyncio*", PLAIN_DATAGRAMS),
    ("test_datagrams", "test_repr[[]*", PLAIN_DATAGRAMS),
]


def mistake_in(module: str, test: str) -> str | None:
    """Why a test of a module, both by name, is skipped on the running Python; None if it is not."""
    if sys.version_info >= (3, 11, 7):
        return None
    for file, pattern, mistake in MISTAKES:
        if module.endswith(file) and fnmatchcase(test, pattern):
            release = ".".join(map(str, sys.version_info[:3]))
            return f"asyncio of Python {release} {mistake}"
    return None
