"""Renders the results that are kept in benchmarks/results into the documentation.

    python -m benchmarks.render

Writes the pictures in docs/performance/, the marked parts of docs/performance.md and the marked
part of README.md. Every figure in those places comes from the JSON through this command. Of each
Python version the full run is shown, or the quick one if there is none; the first is the newest
version with a full run, and its means stand in the README.
"""

import argparse
import re
from pathlib import Path

from benchmarks.charts import draw_rows
from benchmarks.curves import load_scale, scale_section
from benchmarks.floor_results import floor_section, load_floors
from benchmarks.markdown import document_section, replace_in_file, short_table
from benchmarks.results import FOLDER, Document, load

ROOT = FOLDER.parents[1]
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
PICTURES = PAGE.with_suffix("")


def found_files(kind: str) -> dict[str, Path]:
    """The file to show of each Python version: full runs before quick ones, the newest first."""
    files: dict[str, Path] = {}
    for path in sorted(FOLDER.glob(f"{kind}-*.json")):
        match = re.fullmatch(rf"{kind}-(\d+\.\d+)(-quick)?\.json", path.name)
        if match and (match[1] not in files or not match[2]):
            files[match[1]] = path

    def order(version: str) -> tuple[bool, tuple[int, ...]]:
        return "quick" not in files[version].name, tuple(map(int, version.split(".")))

    return {version: files[version] for version in sorted(files, key=order, reverse=True)}


def bench_part(documents: dict[str, Document]) -> str:
    """The tables of all versions, and their pictures."""
    sections = []
    for version, document in documents.items():
        title = f"CPython {version}"
        picture = PICTURES / f"bench-{version}.png"
        draw_rows(picture, title, document)
        sections.append(document_section(title, document, f"{PICTURES.name}/{picture.name}"))
    return "\n\n".join(sections)


def scale_part() -> str:
    """The curves of all versions, and their pictures."""
    return "\n\n".join(
        scale_section(version, load_scale(path), PICTURES)
        for version, path in found_files("scale").items()
    )


def floors_part() -> str:
    """The floors of all versions; nothing as long as none were measured."""
    return "\n\n".join(
        floor_section(version, *load_floors(path))
        for version, path in found_files("floors").items()
    )


def main() -> int:
    argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__).parse_args()
    documents = {version: load(path) for version, path in found_files("bench").items()}
    if not documents:
        raise SystemExit(f"there are no results in {FOLDER}; run make bench first")
    parts = {"bench": bench_part(documents), "floors": floors_part(), "scale": scale_part()}
    replace_in_file(PAGE, parts)
    replace_in_file(README, {"performance": short_table(next(iter(documents.values())))})
    print(f"rendered {', '.join(documents)} into {PAGE} and {README}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
