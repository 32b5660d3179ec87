"""Markdown from results: tables of `make bench`, and the replacing of a marked part of a file.

A part lies between the lines `<!-- begin NAME: made by python -m benchmarks.render -->` and
`<!-- end NAME -->`; what stands outside such parts is written by people and left alone.
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import (
    OURS,
    RATE_ALONE,
    Document,
    RowResult,
    describe,
    geometric_mean,
    ratio_to,
    verdict,
)
from benchmarks.rows import BENCH_ROWS, BEST, GROUPS, MEAN_TARGETS, BenchRow


def replace_part(text: str, name: str, content: str) -> str:
    """`text` with the part called `name` replaced; raises ValueError if it has no such part."""
    begin = f"<!-- begin {name}: made by python -m benchmarks.render -->"
    end = f"<!-- end {name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"no part {name!r}: the lines {begin!r} and {end!r} are missing")
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n\n{content.strip()}\n\n{end}{rest.partition(end)[2]}"


def replace_in_file(path: Path, parts: dict[str, str]) -> None:
    """Replaces the named parts of a file."""
    text = path.read_text()
    for name, content in parts.items():
        text = replace_part(text, name, content)
    path.write_text(text)


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *lines))


def number(value: float) -> str:
    """A figure with three significant digits or all its whole ones."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def thousands(value: float) -> str:
    """A rate: 38.9k."""
    return f"{value / 1000:.1f}k"


def figure_text(row: BenchRow, result: RowResult, loop: str) -> str:
    """One cell: the median in the row's unit, with the rate in brackets beside a server's CPU."""
    if loop in result.failed:
        return "failed"
    value = result.spread(loop)
    if value is None:
        return "-"
    rate = result.spread(loop, RATE_ALONE)
    if rate is None:
        return number(value.median)
    return f"{number(value.median)} ({thousands(rate.median)})"


def unit_text(row: BenchRow, result: RowResult) -> str:
    """The unit of a row's cells, and what stands in brackets."""
    rates = any(RATE_ALONE in figures for turn in result.rounds for figures in turn.values())
    return row.unit + (" (/s)" if rates else "")


def group_columns(document: Document, group: str) -> list[str]:
    """The loops, then the servers that some row of the group is measured beside."""
    rows = [BENCH_ROWS[key] for key in document.results if BENCH_ROWS[key].group == group]
    return [*document.loops, *sorted({server for row in rows for server in row.servers})]


def row_cells(document: Document, row: BenchRow, names: Sequence[str]) -> list[str]:
    """One line of a group's table: figures, ratio and spread, reference, target, verdict."""
    result = document.results[row.key]
    found = verdict(row, result, document.loops)
    return [
        row.title,
        unit_text(row, result),
        *(figure_text(row, result, name) for name in names),
        found.ratio.as_ratio() if found else "-",
        found.reference if found else "-",
        f"{row.target:.2f}",
        found.word(row) if found else "-",
    ]


def row_columns(names: Sequence[str]) -> list[str]:
    """The titles of row_cells()."""
    return ["work", "unit", *names, "ratio (min-max)", "to", "target", "verdict"]


def group_table(document: Document, group: str) -> str:
    """The table of one group of rows."""
    names = group_columns(document, group)
    rows = [BENCH_ROWS[key] for key in document.results if BENCH_ROWS[key].group == group]
    return table(row_columns(names), [row_cells(document, row, names) for row in rows])


def mean_text(mean: tuple[float, int] | None, target: float | None) -> str:
    """A geometric mean with the number of its rows, and the target if there is one."""
    if mean is None:
        return "-"
    return f"{mean[0]:.2f} ({mean[1]})" + (f", target {target:.2f}" if target else "")


def mean_cells(document: Document) -> tuple[list[str], list[list[str]]]:
    """Geometric means of pyasync's ratios, per group, to the best peer of each row and to loops:
    the titles, and a line for each group."""
    references = [BEST, *(loop for loop in document.loops if loop != OURS)]
    lines = []
    for group in GROUPS:
        means = [geometric_mean(document.results, document.loops, group, to) for to in references]
        if any(means):
            wanted = [MEAN_TARGETS.get(group, {}).get(to) for to in references]
            lines.append([group, *map(mean_text, means, wanted)])
    return ["times as fast as (rows)", *references], lines


def counted(items: list[str], one: str, several: str) -> str:
    """How many there are, with what is said of them."""
    return f"{len(items)} {one if len(items) == 1 else several}"


def verdict_counts(document: Document) -> str:
    """How many rows are at their target, short of it, slower than a peer: one sentence."""
    words: dict[str, list[str]] = {"met": [], "not met": [], "slower": []}
    for key, result in document.results.items():
        row = BENCH_ROWS[key]
        found = verdict(row, result, document.loops)
        if found is not None:
            words[found.word(row)].append(row.title)
    rows = counted(words["met"], "row is at its target", "rows are at their target")
    short = counted(words["not met"], "is", "are") + " faster than every peer and short of it"
    text = f"{rows}, {short}, {counted(words['slower'], 'is', 'are')} slower than some peer"
    return text + (": " + "; ".join(words["slower"]) + "." if words["slower"] else ".")


def losses(document: Document) -> str:
    """For each other loop, the rows on which it is better than pyasync, a line each."""
    lines = []
    for loop in (loop for loop in document.loops if loop != OURS):
        titles = []
        for key, result in document.results.items():
            row = BENCH_ROWS[key]
            ratio = None if loop in row.not_a_peer else ratio_to(result, loop)
            if ratio is not None and ratio.median < 1:
                titles.append(row.title)
        better = f"- {loop} is better on {counted(titles, 'row', 'rows')}"
        lines.append(better + (": " + "; ".join(titles) if titles else ""))
    return "\n".join(lines)


def failures(document: Document) -> str:
    """What was left out or failed, a line each."""
    lines = [f"- {loop} is left out: {reason}" for loop, reason in document.missing.items()]
    for key, result in document.results.items():
        lines += [
            f"- failed: {BENCH_ROWS[key].title}, {loop}: `{reason.splitlines()[0]}`"
            for loop, reason in result.failed.items()
        ]
    return "\n".join(lines)


def document_section(title: str, document: Document, picture: str) -> str:
    """Everything that one run showed: means, picture, tables, failures, circumstances."""
    rounds = [len(result.rounds) for result in document.results.values()]
    kind = "Quick run" if document.quick else "Full run"
    parts = [
        f"## {title}",
        f"{kind}, {min(rounds)} to {max(rounds)} rounds. {describe(document.about)}.",
        verdict_counts(document),
        losses(document),
        table(*mean_cells(document)),
        f"![{title}: speed of each loop relative to the best peer]({picture})",
    ]
    for group in GROUPS:
        parts += [f"### {group}", group_table(document, group)]
    return "\n\n".join([*parts, failures(document)])


def short_table(document: Document) -> str:
    """The README's table, and where it comes from."""
    about = document.about
    kind = "a quick run" if document.quick else "a full run"
    return "\n\n".join(
        [
            table(*mean_cells(document)),
            f"Geometric means over the rows of each kind (their number in brackets), CPython "
            f"{about['python']}, {about['cpu']}, {kind} of `make bench`. "
            f"{verdict_counts(document)}",
        ]
    )
