"""docs/flow.md is complete and true: every name exists, is documented, and its example runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from pyasync import flow

DOCUMENT = Path(__file__).parents[2] / "docs" / "flow.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
OPTIONS = doctest.ELLIPSIS

# The functions of JavaScript's async 3, by its own chapters, and of Promise.
COLLECTIONS = """
    concat concatLimit concatSeries detect detectLimit detectSeries each eachLimit eachOf
    eachOfLimit eachOfSeries eachSeries every everyLimit everySeries filter filterLimit
    filterSeries groupBy groupByLimit groupBySeries map mapLimit mapSeries mapValues
    mapValuesLimit mapValuesSeries reduce reduceRight reject rejectLimit rejectSeries some
    someLimit someSeries sortBy transform
"""
CONTROL_FLOW = """
    applyEach applyEachSeries auto autoInject cargo cargoQueue compose doUntil doWhilst forever
    parallel parallelLimit priorityQueue queue race retry retryable seq series times timesLimit
    timesSeries tryEach until waterfall whilst
"""
UTILITIES = """
    apply asyncify constant dir ensureAsync log memoize nextTick reflect reflectAll setImmediate
    timeout unmemoize
"""
PROMISES = "Promise.all Promise.race Promise.any Promise.allSettled AbortController AbortSignal"


def rows():
    """The rows of the reference table: names there, names here, notes."""
    section = TEXT.split("## From JavaScript and asyncio")[1].split("\n## ")[0]
    found = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and "`" in cells[0]:
            found.append((re.findall(r"`([^`]+)`", cells[0]), cells[1], cells[2]))
    return found


def names_table():
    """What the list of all names must be: the first line of each docstring."""
    lines = ["| name | what it does |", "|---|---|"]
    for name in flow.__all__:
        if name != "Pool":
            summary = inspect.getdoc(getattr(flow, name)).split("\n\n")[0].replace("\n", " ")
            lines.append(f"| `flow.{name}` | {summary.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def test_the_table_has_every_function_of_javascript():
    there = {name for names, *_ in rows() for name in names}
    wants = set(f"{COLLECTIONS} {CONTROL_FLOW} {UTILITIES} {PROMISES}".split())
    assert wants - there == set()


def test_every_row_names_something_of_ours_or_says_why_there_is_none():
    for names, here, notes in rows():
        ours = re.findall(r"`flow\.(\w+)`", here)
        assert ours or (here == "none" and notes), names
        for name in ours + re.findall(r"`flow\.(\w+)`", notes):
            assert name in flow.__all__, name


def test_every_public_name_is_in_the_document():
    listed = re.search(r"<!-- names: begin -->\n(.*?)<!-- names: end -->", TEXT, re.DOTALL)
    assert listed.group(1).strip() == names_table()


def modules():
    return [
        importlib.import_module(f"pyasync.flow.{module.name}")
        for module in pkgutil.iter_modules(flow.__path__)
    ]


@pytest.mark.parametrize("name", flow.__all__)
def test_every_name_is_documented_with_an_example_that_runs(name):
    thing = getattr(flow, name)
    if name == "Pool":  # a type alias; its docstring is a string below it
        return
    documentation = inspect.getdoc(thing)
    assert documentation and ">>>" in documentation
    home = importlib.import_module(inspect.unwrap(thing).__module__)
    tests = doctest.DocTestFinder(recurse=False).find(thing, name, module=home)
    assert len(tests) == 1 and tests[0].examples
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    output = []
    assert runner.run(tests[0], out=output.append).failed == 0, "".join(output)


@pytest.mark.parametrize("name", sorted(set(flow.__all__) - {"Pool"}))
def test_every_docstring_says_what_is_raised(name):
    """Exceptions and plain data need no such paragraph."""
    passive = {
        "Aborted", "BulkheadFull", "CacheInfo", "ChannelClosed", "CircuitOpen", "Fulfilled",
        "QueueClosed", "Rejected", "RetriesExhausted", "Superseded",
    }  # fmt: skip
    raises = "Raises" in inspect.getdoc(getattr(flow, name))
    assert raises or name in passive


def test_every_public_function_and_method_is_documented():
    undocumented = []
    for module in modules():
        assert module.__doc__, module
        for name, thing in vars(module).items():
            if inspect.isclass(thing) and thing.__module__ == module.__name__:
                public = [
                    (f"{name}.{attribute}", value)
                    for attribute, value in vars(thing).items()
                    if not attribute.startswith("_")
                    and (inspect.isfunction(value) or isinstance(value, property | staticmethod))
                ]
                undocumented += [] if name.startswith("_") else public
            elif inspect.isfunction(thing) and not name.startswith("_"):
                if thing.__module__ == module.__name__:
                    undocumented.append((name, thing))
    assert [name for name, thing in undocumented if not inspect.getdoc(thing)] == []


def test_the_document_is_a_doctest():
    failed, tried = doctest.testfile(str(DOCUMENT), module_relative=False, optionflags=OPTIONS)
    assert tried > 20 and failed == 0
