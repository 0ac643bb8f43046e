"""A whole comparison in this process: what it counts, where it goes on, what it leaves out."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_tui.core.data.source import open_rows
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.evidence import measure, questions
from finetune_tui.core.evidence.compared_rows import read_index, read_rows
from finetune_tui.core.evidence.comparison import (
    Comparison,
    Verdict,
    Which,
    comparisons_of,
    list_comparisons,
    read_comparison,
)
from finetune_tui.core.evidence.questions import Asking
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event, read_events
from finetune_tui.core.runs.launch import make_task_run
from finetune_tui.core.runs.requests import drop_request
from finetune_tui.core.training.replies import generate, question
from finetune_tui.core.training.reporter import Reporter, StopRequested
from finetune_tui.core.training.tuned import Tuned, load_tuned
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.core.tuning.task_spec import CompareSpec
from tests.core.training.trained_runs import copy_of

from .conftest import QUESTIONS, Trained


@pytest.fixture(scope="module")
def pair(trained: Trained) -> Tuned:
    return load_tuned(trained.run)


@pytest.fixture(scope="module", autouse=True)
def _loaded_once(pair: Tuned) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "load_tuned", lambda *_args, **_rest: pair)
        yield


@pytest.fixture(scope="module")
def whole(trained: Trained) -> tuple[Comparison, list[Event]]:
    """Every row that was held out, and some that the base can answer."""
    forget = trained.home / "forget.jsonl"
    forget.write_text("".join(QUESTIONS.read_text().splitlines(keepends=True)[-10:]))
    return done(make(trained, rows=0, forget_files=str(forget)))


def make(trained: Trained, **values: Any) -> RunDirectory:
    spec = CompareSpec(run=str(trained.run.path)).changed(**values)
    return make_task_run(trained.home, spec)


def done(run: RunDirectory) -> tuple[Comparison, list[Event]]:
    measure.work(run, Reporter(run), False)
    events = list(read_events(run.events_path))
    assert [event["kind"] for event in events[-2:]] == ["compared", "finished"]
    return read_comparison(Path(events[-2]["comparison"])), events


def texts(comparison: Comparison, which: Which = Which.HELD_OUT) -> list[tuple[str, str]]:
    index = read_index(comparison.folder, which)
    return [(row.base, row.tuned) for row in read_rows(comparison.folder, index.offsets)]


def test_it_counts_what_each_model_says(
    trained: Trained, whole: tuple[Comparison, list[Event]]
) -> None:
    comparison, events = whole
    assert comparison in list_comparisons(trained.run)
    held_out = comparison.held_out
    assert (held_out.judged_by, held_out.left_out, held_out.notes) == ("exact", 0, ())
    counts = held_out.counts
    assert held_out.rows == counts.rows
    assert (counts.fixed, counts.regressed) == (trained.fixed, trained.regressed)
    assert (counts.both_right, counts.both_wrong) == (0, trained.wrong)
    assert min(trained.fixed, trained.regressed, trained.wrong) > 1
    forgetting = comparison.forgetting
    assert forgetting is not None
    assert forgetting.counts.both_right + forgetting.counts.regressed >= 9
    assert forgetting.counts.regressed > 0
    assert forgetting.base_loss is not None
    assert forgetting.tuned_loss is not None
    assert forgetting.base_loss < forgetting.tuned_loss
    phases = [event["phase"] for event in events if event["kind"] == "phase"]
    asking = [phase for phase in dict.fromkeys(phases) if phase.startswith("asking")]
    assert asking == ["asking base", "asking tuned"]


def test_the_rows_can_be_read_and_say_where_they_come_from(
    trained: Trained, whole: tuple[Comparison, list[Event]]
) -> None:
    comparison, _ = whole
    rows = read_rows(comparison.folder, read_index(comparison.folder, Which.HELD_OUT).offsets)
    lines = trained.rows.read_text().splitlines()
    assert len(rows) == len(lines)
    for number, (row, line) in enumerate(zip(rows, map(json.loads, lines), strict=True)):
        assert (row.number, row.where) == (number, f"{trained.rows}:{number + 1}")
        assert (row.prompt, row.expected) == (line["prompt"], line["completion"].strip())
        right = row.tuned if row.verdict is Verdict.FIXED else row.base
        assert (right == row.expected) is (row.verdict is not Verdict.BOTH_WRONG)


class Dying:
    """Answers of a model that ends after so many batches, as a killed worker would."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, batches: int, raises: Callable[[], None]
    ) -> None:
        left = iter(range(batches))

        def dying(*args: Any) -> list[str]:
            if next(left, None) is None:
                raises()
            return generate(*args)

        monkeypatch.setattr(questions, "BATCH", 4)
        monkeypatch.setattr(questions, "generate", dying)


def killed() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("batches", [2, 5])
def test_one_that_was_killed_goes_on_behind_its_last_answer(
    trained: Trained,
    whole: tuple[Comparison, list[Event]],
    monkeypatch: pytest.MonkeyPatch,
    batches: int,
) -> None:
    straight = whole[0]
    rows = straight.held_out.rows
    run = make(trained, rows=0)
    with monkeypatch.context() as patch:
        Dying(patch, batches, killed)
        with pytest.raises(KeyboardInterrupt):
            measure.work(run, Reporter(run), False)
    assert not (comparisons_of(trained.run) / run.short_id).exists()
    with (run.path / "answers.jsonl").open("a") as file:
        file.write('{"set": "held_out", "who": "ba')  # torn by the kill
    asked = count_asked(monkeypatch)
    resumed, _ = done(run)
    assert texts(resumed) == texts(straight)
    assert resumed.held_out.measured == straight.held_out.measured
    assert sum(asked) == 2 * rows - 4 * batches


def count_asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each call asked."""
    found: list[int] = []

    def counting(model: Any, tokenizer: Any, prompts: Sequence[Any], *rest: Any) -> list[str]:
        found.append(len(prompts))
        return generate(model, tokenizer, prompts, *rest)

    monkeypatch.setattr(questions, "generate", counting)
    return found


def test_answers_of_another_result_are_not_kept(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(trained, rows=8)
    with monkeypatch.context() as patch:
        Dying(patch, 1, killed)
        with pytest.raises(KeyboardInterrupt):
            measure.work(run, Reporter(run), False)
    config = trained.run.adapter / "adapter_config.json"
    os.utime(config, (1, 1))
    asked = count_asked(monkeypatch)
    done(run)
    assert sum(asked) == 2 * 8


def test_a_stop_is_taken_up_between_two_tokens(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(trained, rows=8)
    reporter = Reporter(run)
    Dying(monkeypatch, 1, lambda: drop_request(run, "stop"))
    with pytest.raises(StopRequested):
        measure.work(run, reporter, False)
    assert not (comparisons_of(trained.run) / run.short_id).exists()


def test_out_of_memory_halves_the_batch_and_says_so_when_one_row_is_too_much(
    trained: Trained,
    whole: tuple[Comparison, list[Event]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits = 3

    def scarce(model: Any, tokenizer: Any, prompts: Sequence[Any], *rest: Any) -> list[str]:
        if len(prompts) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(model, tokenizer, prompts, *rest)

    monkeypatch.setattr(questions, "generate", scarce)
    monkeypatch.setattr(questions, "forget_memory", lambda: None)
    found, _ = done(make(trained, rows=0))
    assert texts(found) == texts(whole[0])
    fits = 0
    with pytest.raises(WorkFailed, match="one row at a time"):
        done(make(trained, rows=4))


def test_metrics_files_and_expressions_are_those_of_the_spec(
    trained: Trained, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [json.loads(line) for line in QUESTIONS.read_text().splitlines()[:6]]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = {
        "compare_files": str(rows),
        "metrics": "regex,exact",
        "regex": r"^(\w+)$",
        "max_new_tokens": 2,
    }
    comparison, _ = done(make(trained, **spec))
    held_out = comparison.held_out
    assert [one.metric for one in held_out.measured] == ["regex", "exact"]
    assert (held_out.judged_by, held_out.longest_answer, held_out.files) == (
        "regex",
        2,
        (str(rows),),
    )
    assert comparison.spec["regex"] == r"^(\w+)$"


def test_rows_that_the_judging_metric_says_nothing_of_are_left_out(
    trained: Trained, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [json.loads(line) for line in QUESTIONS.read_text().splitlines()[:5]]
    lines[1]["completion"] = " it costs #### 9"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = {"compare_files": str(rows), "metrics": "regex", "regex": r"#### (\d+)"}
    comparison, _ = done(make(trained, **spec))
    assert (comparison.held_out.rows, comparison.held_out.left_out) == (1, 4)
    assert comparison.held_out.notes == ("4 left out: 'regex' says nothing of what they expect",)


def test_chats_are_asked_as_they_were_trained(trained: Trained, tmp_path: Path) -> None:
    chats = tmp_path / "chats.jsonl"
    turns = [
        ("user", "Where to?"),
        ("assistant", "Ghent"),
        ("user", "When?"),
        ("assistant", "Friday"),
    ]
    row = {"messages": [{"role": role, "content": said} for role, said in turns]}
    chats.write_text(json.dumps(row) + "\n")
    run = copy_of(trained.run, "r77-chats")
    spec = run.spec().changed(train_files=[str(chats)])
    run.spec_path.write_text(write_spec(spec))
    made = make_task_run(trained.home, CompareSpec(run=str(run.path), compare_files=(str(chats),)))
    comparison, _ = done(made)
    assert comparison.folder.parent == comparisons_of(run)
    (asked,) = read_rows(comparison.folder, [0])
    assert asked.prompt.startswith("Instruct: Where to?")
    assert "Output: Ghent" in asked.prompt
    assert asked.prompt.endswith("Instruct: When?\n\nOutput:")
    assert asked.expected == "Friday"
    with pytest.raises(UserError, match="no chat template"):
        done(make(trained, compare_files=str(chats)))


def test_rows_longer_than_the_model_takes_are_left_out(trained: Trained, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [json.loads(line) for line in QUESTIONS.read_text().splitlines()[:3]]
    lines[0]["prompt"] = lines[0]["prompt"] * 20
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    comparison, _ = done(make(trained, compare_files=str(rows)))
    assert (comparison.held_out.rows, comparison.held_out.left_out) == (2, 1)
    assert "longer than the model's" in comparison.held_out.notes[0]
    rows.write_text(json.dumps(lines[0]) + "\n")
    with pytest.raises(UserError, match="no row can be asked"):
        done(make(trained, compare_files=str(rows)))


def test_the_loss_is_that_of_the_answers_alone(trained: Trained, pair: Tuned) -> None:
    asked = [question(row, pair.tokenizer) for row in open_rows([QUESTIONS])[:7]]
    asking = Asking(pair, lambda: None)
    for who, switch in (("base", pair.as_base), ("tuned", pair.as_tuned)):
        total = tokens = 0.0
        for one in asked:
            with switch() as model, torch.no_grad():
                ids = torch.tensor([[*one.prompt, *one.answer]])
                labels = torch.tensor([[-100] * len(one.prompt) + list(one.answer)])
                total += float(model(input_ids=ids, labels=labels).loss) * len(one.answer)
                tokens += len(one.answer)
        assert asking.loss(who, asked) == pytest.approx(total / tokens, rel=1e-5)
