"""Renders the results that are kept in benchmarks/results into the documentation.

    python -m benchmarks.render

Writes the pictures in docs/performance/, the marked parts of docs/performance.md and the marked
part of README.md. Every figure in those places comes from the JSON through this command. Of each
Python version the full run is shown, or the quick one if there is none; the first is the newest
version with a full run, and its means stand in the README.
"""

import argparse
import re

from benchmarks.charts import draw_rows
from benchmarks.markdown import document_section, replace_in_file, short_table
from benchmarks.results import FOLDER, Document, load

ROOT = FOLDER.parents[1]
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
PICTURES = PAGE.with_suffix("")


def found_documents() -> dict[str, Document]:
    """The run to show of each Python version, the version of the README's table first."""
    documents: dict[str, Document] = {}
    for path in sorted(FOLDER.glob("bench-*.json")):
        match = re.fullmatch(r"bench-(\d+\.\d+)(-quick)?\.json", path.name)
        if match and (match[1] not in documents or not match[2]):
            documents[match[1]] = load(path)

    def order(version: str) -> tuple[bool, tuple[int, ...]]:
        return not documents[version].quick, tuple(map(int, version.split(".")))

    return {version: documents[version] for version in sorted(documents, key=order, reverse=True)}


def bench_part(documents: dict[str, Document]) -> str:
    """The tables of all versions, and their pictures."""
    sections = []
    for version, document in documents.items():
        title = f"CPython {version}"
        picture = PICTURES / f"bench-{version}.png"
        draw_rows(picture, title, document)
        sections.append(document_section(title, document, f"{PICTURES.name}/{picture.name}"))
    return "\n\n".join(sections)


def main() -> int:
    argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__).parse_args()
    documents = found_documents()
    if not documents:
        raise SystemExit(f"there are no results in {FOLDER}; run make bench first")
    replace_in_file(PAGE, {"bench": bench_part(documents)})
    replace_in_file(README, {"performance": short_table(next(iter(documents.values())))})
    print(f"rendered {', '.join(documents)} into {PAGE} and {README}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
