"""Reads what the sanitizers wrote during `make asan`: every error, and the leaks that are ours.

LeakSanitizer also lists what CPython itself leaves to the end of the process. Every stack passes
through the interpreter, so a suppression list could not tell the two apart; what can is the
function that called the allocator: it must be in the extension module or in libuv. Python objects
are not looked for here, `make refleaks` counts those.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LEAK = re.compile(r"^(?:Direct|Indirect) leak of .*?\n((?: +#\d+ .*\n)+)", re.MULTILINE)
FRAME = re.compile(r" +#\d+ 0x[0-9a-f]+ (?:in (?P<function>\S+) )?(?P<place>.*)")
ALLOCATORS = re.compile(r"malloc|calloc|realloc|posix_memalign|strdup|uv__.*alloc|uv__strn?dup")
OURS = re.compile(r"/_core\.[^/]*\.so|(?:^|/)csrc/|libuv\.so")


def is_ours(stack: str) -> bool:
    """Whether the first frame below the allocator is in the extension module or in libuv."""
    for line in stack.splitlines():
        frame = FRAME.match(line)
        if frame and not ALLOCATORS.search(frame["function"] or ""):
            return bool(OURS.search(frame["place"]))
    return False


def findings(report: str) -> list[str]:
    """The errors and our leaks in one process's report."""
    found = [leak[0] for leak in LEAK.finditer(report) if is_ours(leak[1])]
    if "ERROR: AddressSanitizer" in report or "runtime error:" in report:
        found.insert(0, report)
    return found


def main(folder: str) -> int:
    """Print what was found in the reports of the folder; 1 if there was anything."""
    reports = sorted(Path(folder).iterdir())
    found = [text for path in reports for text in findings(path.read_text(errors="replace"))]
    for text in dict.fromkeys(found):
        print(text)
    print(f"sanitizers: {len(reports)} reports read, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
