"""The benchmarks' arithmetic: ratios within rounds, the best peer, verdicts, what failed, and the
replacing of the rendered parts of a document. A table is worth what this file proves."""

from pathlib import Path

import pytest

from benchmarks.markdown import losses, replace_part, row_cells, verdict_counts
from benchmarks.results import (
    Document,
    RowResult,
    best_peer,
    geometric_mean,
    load,
    ratio_to,
    speed,
    verdict,
)
from benchmarks.rows import BENCH_ROWS, BEST, GROUPS
from benchmarks.smoke import judge

COST = BENCH_ROWS["sleep_zero_many"]  # ns, target 1.5
PAIRED = BENCH_ROWS["uvicorn"]  # us CPU of pyasync beside one other at a time, target 1.15
LIMITED = BENCH_ROWS["tcp_1k"]  # against the C server, target 1.0
LOOPS = ["asyncio", "pyasync", "uvloop"]


def rounds(**values: list[float]) -> RowResult:
    """A row's result from each loop's values in turn."""
    names = [name.replace("_", " ") for name in values]
    turns = zip(*values.values(), strict=True)
    return RowResult(
        [
            {name: {"value": value} for name, value in zip(names, turn, strict=True)}
            for turn in turns
        ]
    )


def test_a_ratio_of_costs_is_taken_within_each_round():
    result = rounds(asyncio=[400, 4000], pyasync=[100, 2000], uvloop=[500, 5000])
    ratio = ratio_to(result, "asyncio")
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == (2, 3, 4)


def test_a_loop_is_compared_with_what_pyasync_cost_beside_it():
    """On a machine that was half as fast when asyncio had its turn."""
    result = RowResult(
        [
            {
                "asyncio": {"value": 60, "beside": 40},
                "uvloop": {"value": 40, "beside": 20},
                "pyasync": {"value": 30},
            }
        ]
    )
    found = [ratio_to(result, loop) for loop in ("asyncio", "uvloop")]
    assert [spread and spread.median for spread in found] == [1.5, 2]
    assert best_peer(PAIRED, result, LOOPS) == "asyncio"
    shown = verdict(PAIRED, result, LOOPS)
    assert shown is not None and (shown.reference, shown.word(PAIRED)) == ("asyncio", "met")
    turn = result.rounds[0]
    assert speed(turn, "uvloop", "asyncio") == 0.75
    assert speed(turn, "pyasync", "asyncio") == 1.5


def test_without_pyasync_the_best_peer_is_the_cheapest():
    assert best_peer(COST, rounds(asyncio=[400], uvloop=[200]), LOOPS) == "uvloop"


@pytest.mark.parametrize(
    ("ours", "word"), [(100, "met"), (150, "not met"), (190, "not met"), (210, "slower")]
)
def test_the_verdict_is_about_the_target_and_the_best_peer(ours, word):
    result = rounds(asyncio=[400], pyasync=[ours], uvloop=[200])
    found = verdict(COST, result, LOOPS)
    assert found is not None
    assert (found.reference, found.word(COST)) == ("uvloop", word)


def test_a_row_against_the_c_server_must_not_lose_against_a_peer_either():
    result = rounds(asyncio=[9.0], pyasync=[6.0], uvloop=[5.0], C_libuv=[6.5])
    found = verdict(LIMITED, result, LOOPS)
    assert found is not None
    assert (found.reference, found.word(LIMITED)) == ("C libuv", "slower")


def test_a_loop_that_failed_is_no_peer_and_is_shown_as_failed():
    result = rounds(asyncio=[400], pyasync=[100], uvloop=[50])
    result.failed["uvloop"] = "it hung"
    assert best_peer(COST, result, LOOPS) == "asyncio"
    document = Document(True, {"loops": dict.fromkeys(LOOPS, "")}, {}, {COST.key: result})
    cells = row_cells(document, COST, LOOPS)
    assert cells[2:5] == ["400", "100", "failed"]


def test_a_row_that_pyasync_failed_has_no_verdict():
    result = rounds(asyncio=[400], pyasync=[100], uvloop=[50])
    result.failed["pyasync"] = "it hung"
    assert verdict(COST, result, LOOPS) is None


def test_the_geometric_mean_takes_the_best_peer_of_each_row():
    results = {
        "sleep_zero": rounds(asyncio=[100], pyasync=[50], uvloop=[400]),
        "sleep_zero_many": rounds(asyncio=[900], pyasync=[50], uvloop=[400]),
        "uvicorn": rounds(asyncio=[1], pyasync=[1], uvloop=[1]),
    }
    assert geometric_mean(results, LOOPS, GROUPS[0], BEST) == (pytest.approx(4), 2)
    assert geometric_mean(results, LOOPS, GROUPS[0], "uvloop") == (pytest.approx(8), 2)


def test_a_rate_stands_beside_the_cpu_time_where_it_was_measured():
    turn = {loop: {"value": 10.0, "rate": 9.0, "rate_alone": 38_900.0} for loop in LOOPS}
    row = BENCH_ROWS["tcp_100k"]
    document = Document(True, {"loops": dict.fromkeys(LOOPS, "")}, {}, {row.key: RowResult([turn])})
    assert row_cells(document, row, LOOPS)[1:3] == ["us CPU (/s)", "10.0 (38.9k)"]
    for figures in turn.values():
        del figures["rate_alone"]
    assert row_cells(document, row, LOOPS)[1:3] == ["us CPU", "10.0"]


def test_losing_rows_are_named():
    results = {COST.key: rounds(asyncio=[100], pyasync=[200], uvloop=[400])}
    document = Document(True, {"loops": dict.fromkeys(LOOPS, "")}, {}, results)
    assert verdict_counts(document) == (
        "0 rows are at their target, 0 are faster than every peer and short of it, "
        f"1 is slower than some peer: {COST.title}."
    )
    assert losses(document) == (
        f"- asyncio is better on 1 row: {COST.title}\n- uvloop is better on 0 rows"
    )


def test_a_document_comes_back_as_it_was_saved(tmp_path: Path):
    result = rounds(asyncio=[400.0], pyasync=[123.4567], uvloop=[50.0])
    result.failed["rloop"] = "it hung"
    path = tmp_path / "bench.json"
    Document(True, {"loops": {}}, {"zuvloop": "no wheel"}, {COST.key: result}).save(path)
    found = load(path)
    assert found.missing == {"zuvloop": "no wheel"}
    assert found.results[COST.key].failed == {"rloop": "it hung"}
    assert found.results[COST.key].rounds[0]["pyasync"] == {"value": 123.457}


def test_only_the_marked_part_is_replaced():
    text = (
        "before\n<!-- begin bench: made by python -m benchmarks.render -->\nold\n"
        "<!-- end bench -->\nafter\n"
    )
    once = replace_part(text, "bench", "new")
    assert once.startswith("before\n") and once.endswith("\nafter\n")
    assert "old" not in once and "\nnew\n" in once
    assert replace_part(once, "bench", "new") == once
    with pytest.raises(ValueError, match="no part 'scale'"):
        replace_part(text, "scale", "new")


def test_instructions_may_grow_by_three_percent_and_not_more():
    assert judge(0.1029, 0.1).startswith("ok")
    assert judge(0.1031, 0.1).startswith("FAILED")
    assert judge(0.1, None).startswith("FAILED")
