"""From answers to verdicts and figures, and which metrics fit."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.comparison import FieldMeasured, Found, Verdict, Which
from finetune_tui.core.evidence.judge import Judge
from finetune_tui.core.evidence.metrics import METRICS, check_asked, metrics_for
from finetune_tui.core.evidence.scoring import AnsweredRow, ScoredSet, score_set
from finetune_tui.core.tuning.task_spec import METRICS as NAMES
from finetune_tui.core.tuning.task_spec import CompareSpec

RECORD = '{"item": "lamp", "city": "Ghent"}'
PROSE = "the long answer that a person would write in their own words about it all"
HELD_OUT = Which.HELD_OUT


def rows(*answers: tuple[str, str, str]) -> list[AnsweredRow]:
    """expected, base, tuned."""
    return [
        AnsweredRow(number, f"rows.jsonl:{number + 1}", "prompt", *texts)
        for number, texts in enumerate(answers)
    ]


def scored(answers: Sequence[AnsweredRow], *names: str) -> ScoredSet:
    metrics = [METRICS[name] for name in names]
    return score_set(HELD_OUT, answers, metrics, Judge())


def names(spec: CompareSpec, *expected: str, which: Which = HELD_OUT) -> list[str]:
    return [metric.id for metric in metrics_for(spec, which, expected)]


def test_every_metric_of_a_spec_is_known() -> None:
    assert tuple(METRICS) == NAMES
    assert all(len(metric.title) <= 18 for metric in METRICS.values())


def test_the_first_metric_judges_each_row() -> None:
    found = scored(
        rows(("a", "b", "a"), ("a", "a", "b"), ("a", "a", "a"), ("a", "b", "c")), "exact"
    )
    assert [row.verdict for row in found.rows] == list(Verdict)
    counts = found.counts
    assert [counts[verdict] for verdict in Verdict] == [1, 1, 1, 1]
    assert counts.rows == 4
    assert (counts.forgotten.hits, counts.forgotten.total) == (1, 2)
    (exact,) = found.measured
    assert (exact.base.hits, exact.tuned.hits, exact.difference.value) == (2, 2, 0)
    judged_by_json = scored(rows((RECORD, "{", "{}")), "json", "exact")
    assert judged_by_json.rows[0].verdict is Verdict.FIXED
    assert judged_by_json.rows[0].scores == {"json": (0, 1), "exact": (0, 0)}


def test_fields_are_counted_over_all_rows() -> None:
    other = '{"item": "clock", "city": "Rome"}'
    found = scored(
        rows((RECORD, "nothing", RECORD), (other, '{"item": "clock"}', RECORD)), "fields"
    )
    (f1,) = found.measured
    assert f1.base.value == pytest.approx(2 * 1 / (1 + 4))
    assert f1.tuned.value == pytest.approx(2 * 2 / (4 + 4))
    assert f1.difference.value == pytest.approx(0.5 - 0.4)
    assert [row.verdict for row in found.rows] == [Verdict.FIXED, Verdict.BOTH_WRONG]
    assert found.fields == (
        FieldMeasured("item", Found(1, 1, 2), Found(1, 2, 2)),
        FieldMeasured("city", Found(0, 0, 2), Found(1, 2, 2)),
    )
    assert found.fields[0].base.precision.value == 1
    assert found.fields[0].base.recall.value == 0.5
    assert found.fields[0].base.f1 == pytest.approx(2 / 3)


def test_a_row_that_a_metric_says_nothing_of_is_not_counted_by_it() -> None:
    found = scored(rows((RECORD, RECORD, RECORD), ("Ghent", "Ghent", "Rome")), "exact", "fields")
    exact, fields = found.measured
    assert (exact.rows, fields.rows) == (2, 1)
    assert found.rows[1].scores["fields"] == (None, None)


def test_many_fields_are_listed_by_how_often_they_are_expected() -> None:
    wide = json.dumps({f"f{n}": n for n in range(300)})
    found = scored(rows((wide, wide, wide), ('{"f7": 7}', "", '{"f7": 7}')), "fields")
    assert found.fields[0].path == "f7"
    assert (len(found.fields), found.further_fields) == (200, 100)


def test_foreign_names_of_fields_come_out_plain() -> None:
    bad = json.dumps({"\u202ered\n": 1})
    assert scored(rows((bad, bad, bad)), "fields").fields[0].path == "red⏎"


@given(
    st.lists(
        st.tuples(*[st.sampled_from([RECORD, "{}", '{"item": "lamp"}', "Ghent", ""])] * 3),
        min_size=1,
    )
)
def test_counts_and_shares_agree(answers: list[tuple[str, str, str]]) -> None:
    found = scored(rows(*answers), "exact", "json", "rouge-l")
    exact = found.measured[0]
    counts = found.counts
    assert counts.rows == len(answers)
    assert exact.base.hits == counts.regressed + counts.both_right
    assert exact.tuned.hits == counts.fixed + counts.both_right
    assert exact.difference.value == pytest.approx((counts.fixed - counts.regressed) / len(answers))
    for one in found.measured:
        assert one.difference.value == pytest.approx(one.tuned.value - one.base.value)


def test_what_fits_goes_by_what_is_expected() -> None:
    none = CompareSpec()
    assert names(none, RECORD, RECORD) == ["exact", "json", "fields"]
    assert names(none, "Ghent", "3") == ["exact"]
    assert names(none, PROSE, PROSE) == ["rouge-l", "exact"]
    assert names(none, *[RECORD] * 3, PROSE, PROSE, PROSE, PROSE) == ["rouge-l", "exact"]


def test_what_is_asked_for_comes_in_that_order_and_what_is_given_is_measured() -> None:
    assert names(CompareSpec(metrics=("json", "exact")), "Ghent") == ["json", "exact"]
    assert names(CompareSpec(regex="x"), "Ghent") == ["regex", "exact"]
    assert names(CompareSpec(metrics=("exact",), regex="x"), "Ghent") == ["exact", "regex"]
    assert names(CompareSpec(json_schema="s.json"), "Ghent") == ["exact", "schema"]
    assert names(CompareSpec(metrics=("regex",), regex="x"), "Ghent") == ["regex"]
    other = CompareSpec(metrics=("fields",), regex="x")
    assert names(other, "Ghent", which=Which.FORGETTING) == ["exact"]


def test_what_cannot_be_measured_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no expected answer is a JSON object"):
        names(CompareSpec(metrics=("fields",)), "Ghent", "3")
    for metric, flag in (("schema", "--schema FILE"), ("regex", "--regex R")):
        with pytest.raises(UserError, match=flag):
            check_asked(CompareSpec(metrics=(metric,)))
    with pytest.raises(UserError, match="cannot be read"):
        check_asked(CompareSpec(json_schema=str(tmp_path / "none.json")))
    with pytest.raises(UserError, match="did you mean 'exact'"):
        CompareSpec().changed(metrics=["exakt"])
