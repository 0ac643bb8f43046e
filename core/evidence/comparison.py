"""A finished comparison of a base with its tuned model, as it lies in the trained run.

    <trained run>/comparisons/<name>/result.json   figures: small, read at once
                                     index.json    of each row where it begins, and its verdict
                                     rows.jsonl    every prompt, expected answer and both answers

The folder is complete or absent. Files may come from strangers: what does not hold what it should is one
clear line, and sizes are bounded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.intervals import Interval, Share, share
from finetune_tui.core.files import read_json
from finetune_tui.core.runs.directory import RunDirectory

VERSION = 1
RESULT = "result.json"
LONGEST_TEXT = 65_536
"""Characters of a text that is read: of a prompt, an answer, a name."""
_LARGEST_RESULT = 8 * 2**20  # bytes


class Which(StrEnum):
    """Which rows were asked: those held out (or named with --data), or those of --forget."""

    HELD_OUT = "held_out"
    FORGETTING = "forgetting"


class Verdict(StrEnum):
    """What tuning did to one row, by the metric that judges."""

    FIXED = "fixed"
    REGRESSED = "regressed"
    BOTH_RIGHT = "both-right"
    BOTH_WRONG = "both-wrong"

    @staticmethod
    def of(base: bool, tuned: bool) -> "Verdict":
        if base == tuned:
            return Verdict.BOTH_RIGHT if tuned else Verdict.BOTH_WRONG
        return Verdict.FIXED if tuned else Verdict.REGRESSED


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric over one set. difference: tuned minus base, on the same rows.

    rows: those the metric says something about; a row without an answer in JSON has no fields, say.
    """

    metric: str
    title: str
    rows: int
    base: Share
    tuned: Share
    difference: Interval


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by verdict."""

    fixed: int
    regressed: int
    both_right: int
    both_wrong: int

    def __getitem__(self, verdict: Verdict) -> int:
        return int(getattr(self, verdict.name.lower()))

    @property
    def rows(self) -> int:
        return self.fixed + self.regressed + self.both_right + self.both_wrong

    @property
    def forgotten(self) -> Share:
        """Of the rows that the base has right, those that tuning made wrong."""
        return share(self.regressed, self.regressed + self.both_right)


@dataclass(frozen=True, slots=True)
class Found:
    """A field's values: right ones, all that were said, all that were expected."""

    right: int
    said: int
    expected: int

    @property
    def precision(self) -> Share:
        return share(self.right, self.said)

    @property
    def recall(self) -> Share:
        return share(self.right, self.expected)

    @property
    def f1(self) -> float:
        """1 where there was nothing to say and nothing was said."""
        both = self.said + self.expected
        return 2 * self.right / both if both else 1.0


@dataclass(frozen=True, slots=True)
class FieldMeasured:
    """One field of the expected JSON; path like `buyer.name` or `items[].price`."""

    path: str
    base: Found
    tuned: Found


@dataclass(frozen=True, slots=True)
class ComparedSet:
    """The figures of one set of rows.

    judged_by: the metric that says right or wrong of a row; right_words: when it says right. left_out: rows
    that could not be asked, with why in `notes`. base_loss, tuned_loss: mean over the tokens of the
    expected answers. fields: the commonest first; further_fields: how many are not listed.
    """

    which: Which
    files: tuple[str, ...]
    rows: int
    left_out: int
    longest_answer: int
    judged_by: str
    right_words: str
    measured: tuple[Measured, ...]
    counts: Counts
    fields: tuple[FieldMeasured, ...]
    further_fields: int
    base_loss: float | None
    tuned_loss: float | None
    notes: tuple[str, ...]

    @property
    def judge(self) -> Measured:
        """The metric that judges; it stands first."""
        return self.measured[0]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything but the rows. created: seconds since 1970. run: id of the trained run.

    device, dtype, precision: where and how both were asked. step: of the checkpoint that was asked, where
    the run has no result of its own.
    """

    folder: Path
    name: str
    run: str
    model: str | None
    created: float
    seconds: float
    device: str
    dtype: str
    precision: str
    held_out: ComparedSet
    forgetting: ComparedSet | None
    spec: Mapping[str, Any]
    step: int | None = None

    @property
    def sets(self) -> tuple[ComparedSet, ...]:
        return (self.held_out,) if self.forgetting is None else (self.held_out, self.forgetting)

    def of(self, which: Which) -> ComparedSet | None:
        return self.held_out if which is Which.HELD_OUT else self.forgetting


def comparisons_of(run: RunDirectory) -> Path:
    """The folder of a trained run's comparisons; it may not exist."""
    return run.path / "comparisons"


def list_comparisons(run: RunDirectory) -> tuple[Comparison, ...]:
    """The whole ones, the newest first. Never raises."""
    found = []
    try:
        folders = [path for path in comparisons_of(run).iterdir() if path.name[0] != "."]
    except OSError:
        return ()
    for folder in folders:
        try:
            found.append(read_comparison(folder))
        except UserError:
            continue
    return tuple(sorted(found, key=lambda one: (one.created, one.name), reverse=True))


def read_comparison(folder: Path) -> Comparison:
    """The figures. Raises UserError when they are missing, broken or of a newer version."""
    path = folder / RESULT
    value = read_json(path, limit=_LARGEST_RESULT)
    version = value.get("version") if isinstance(value, dict) else None
    if isinstance(version, int | float) and version > VERSION:
        raise UserError("written by a newer version of finetune-tui", where=str(path))
    try:
        return _comparison(folder, value)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError("this is no result of a comparison", where=str(path)) from error


def _comparison(folder: Path, value: Any) -> Comparison:
    forgetting = value["forgetting"]
    return Comparison(
        folder=folder,
        name=folder.name,
        run=text_in(value["run"]),
        model=None if value["model"] is None else text_in(value["model"]),
        created=number_in(value["created"]),
        seconds=number_in(value["seconds"]),
        device=text_in(value["device"]),
        dtype=text_in(value["dtype"]),
        precision=text_in(value["precision"]),
        held_out=_set(Which.HELD_OUT, value["held_out"]),
        forgetting=None if forgetting is None else _set(Which.FORGETTING, forgetting),
        spec=dict(value["spec"]),
        step=None if value.get("step") is None else whole_in(value["step"]),
    )


def _set(which: Which, value: Any) -> ComparedSet:
    measured = tuple(_measured(one) for one in value["metrics"])
    if not measured:
        raise ValueError("no metric")
    return ComparedSet(
        which=which,
        files=tuple(text_in(one) for one in value["files"]),
        rows=whole_in(value["rows"]),
        left_out=whole_in(value["left_out"]),
        longest_answer=whole_in(value["longest_answer"]),
        judged_by=text_in(value["judged_by"]),
        right_words=text_in(value["right_words"]),
        measured=measured,
        counts=Counts(
            **{
                name: whole_in(value["counts"][name])
                for name in ("fixed", "regressed", "both_right", "both_wrong")
            }
        ),
        fields=tuple(_field(one) for one in value["fields"]),
        further_fields=whole_in(value["further_fields"]),
        base_loss=optional_in(value["base_loss"]),
        tuned_loss=optional_in(value["tuned_loss"]),
        notes=tuple(text_in(one) for one in value["notes"]),
    )


def _measured(value: Any) -> Measured:
    return Measured(
        metric=text_in(value["metric"]),
        title=text_in(value["title"]),
        rows=whole_in(value["rows"]),
        base=_share(value["base"]),
        tuned=_share(value["tuned"]),
        difference=_interval(value["difference"]),
    )


def _share(value: Any) -> Share:
    hits = value["hits"]
    found = _interval(value)
    if found.low < 0:
        raise ValueError("less than nothing")
    return Share(
        None if hits is None else whole_in(hits),
        whole_in(value["total"]),
        found.value,
        found.low,
        found.high,
    )


def _interval(value: Any) -> Interval:
    found = Interval(*(number_in(value[name]) for name in ("value", "low", "high")))
    if not -1 <= found.low <= found.value <= found.high <= 1:
        raise ValueError("no interval")
    return found


def _field(value: Any) -> FieldMeasured:
    base, tuned = (
        Found(*(whole_in(value[who][name]) for name in ("right", "said", "expected")))
        for who in ("base", "tuned")
    )
    for found in (base, tuned):
        if found.right > min(found.said, found.expected):
            raise ValueError("more right than there are")
    return FieldMeasured(text_in(value["path"]), base, tuned)


def text_in(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value[:LONGEST_TEXT]


def whole_in(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("no count")
    return value


def number_in(value: Any) -> float:
    number = float(value) if type(value) in (int, float) else math.nan
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


def optional_in(value: Any) -> float | None:
    return None if value is None else number_in(value)
