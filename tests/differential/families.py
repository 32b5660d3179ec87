"""The kinds of programs there are, by name, with the strategy that makes each."""

from __future__ import annotations

from .link_strategies import connection_programs, stream_programs
from .strategies import scheduling_programs

FAMILIES = {
    "scheduling": scheduling_programs,
    "connections": connection_programs(),
    "streams": stream_programs(),
}
