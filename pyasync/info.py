"""build_info(): what this pyasync is made of."""

from __future__ import annotations

import os
import sys

from pyasync import _core

TYPE_CHECKING = False  # as typing has it: importing that takes longer than all of pyasync
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

stock_tls = os.environ.get("PYASYNC_STOCK_TLS", "") not in ("", "0")


def build_info() -> dict[str, Any]:
    """Return the facts about this build as a dict of plain values.

    Keys: "pyasync", "python" and "libuv" (versions in use), "python_headers" and "libuv_headers"
    (versions compiled against), "task" ("overlay" for pyasync's own Future and Task, "stock" for
    asyncio's), "task_reason" (why, a sentence), "tls" ("engine" for pyasync's own, "stock" for
    asyncio's sslproto, by PYASYNC_STOCK_TLS=1), "freelists" (bool) and "compile_flags" (str).
    """
    facts = _core._build_info()
    return {
        "pyasync": __version__,
        "python": sys.version.split()[0],
        "libuv": facts["libuv"],
        "python_headers": facts["python_headers"],
        "libuv_headers": facts["libuv_headers"],
        "task": "overlay" if facts["overlay"] else "stock",
        "task_reason": facts["overlay_reason"]
        or "asyncio's Future and Task are laid out as this build knows them",
        "tls": "stock" if stock_tls else "engine",
        "freelists": facts["freelists"],
        "compile_flags": facts["compile_flags"],
    }
