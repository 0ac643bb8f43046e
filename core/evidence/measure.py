"""A whole comparison, from top to bottom: base and tuned model answer the same rows. Starred."""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.answers import Answers, Who, digest_of, stamp_of
from finetune_tui.core.evidence.asking import (
    RowsToAsk,
    changed_since,
    expected_texts,
    refuse_chats,
    rows_to_ask,
)
from finetune_tui.core.evidence.compared_rows import ComparedRow
from finetune_tui.core.evidence.comparison import ComparedSet, Comparison, Which, comparisons_of
from finetune_tui.core.evidence.judge import Judge
from finetune_tui.core.evidence.metrics import Metric, judge_of, metrics_for
from finetune_tui.core.evidence.question_sets import (
    QuestionSet,
    pulse_of,
)
from finetune_tui.core.evidence.questions import Asking
from finetune_tui.core.evidence.scoring import ScoredSet, score_set
from finetune_tui.core.evidence.summary import compared_event, summary_words
from finetune_tui.core.evidence.writing import bytes_of, folder_for, write_comparison
from finetune_tui.core.limits import bounded_memory
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.processes import host_name
from finetune_tui.core.runs.state import Status
from finetune_tui.core.runs.targets import target_of
from finetune_tui.core.text import count
from finetune_tui.core.training.feed import spare_memory
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.tuned import Tuned, load_tuned
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.task_spec import CompareSpec

_WHO: tuple[Who, Who] = ("base", "tuned")


def work(run: RunDirectory, reporter: Reporter, _resume: bool) -> None:
    """Do the whole comparison; one that was cut off finds its answers on the disk and asks for the others.

    Raises UserError, WorkFailed or StopRequested.
    """
    began = time.monotonic()
    spec = run.task_spec()
    if not isinstance(spec, CompareSpec):
        raise UserError("this is not the spec of a comparison", where=str(run.spec_path))
    trained = target_of(spec)
    about = trained.spec()
    _require_writable(trained)
    _say_started(trained, about, reporter)
    with judge_of(spec) as judge:
        asked = _read(spec, trained, about, reporter)
        metrics = [metrics_for(spec, one.which, expected_texts(one)) for one in asked]
        tuned = load_tuned(trained, use_cpu=spec.use_cpu, say=reporter.say)
        if tuned.tokenizer.chat_template is None:
            refuse_chats(asked, about, tuned.reference.name)
        asking = Asking(tuned, reporter.check)
        with bounded_memory(spare_memory()):
            sets = [
                QuestionSet.of(one, own[0], spec.max_new_tokens, asking, judge, reporter)
                for one, own in zip(asked, metrics, strict=True)
            ]
        answers = Answers(run.path / "answers.jsonl", _digest(sets, trained, tuned))
        for who in _WHO:
            _ask(who, sets, asking, answers, reporter)
        reporter.phase("measuring the loss")
        losses = [[asking.loss(who, one.questions) for who in _WHO] for one in sets]
        scored = [
            _score(one, own, answers, judge, reporter)
            for one, own in zip(sets, metrics, strict=True)
        ]
    if judge.slow:
        message = f"{judge.slow} answers took schema or expression too long and count as wrong"
        reporter.event("warning", message=message, where="metrics")
    figures = [
        _figures(one, own[0], result, base, after)
        for one, own, result, (base, after) in zip(sets, metrics, scored, losses, strict=True)
    ]
    comparison = _comparison(run, spec, trained, tuned, figures, began, reporter)
    rows = {one.which: result.rows for one, result in zip(figures, scored, strict=True)}
    _keep(comparison, rows, run, reporter)


def _require_writable(trained: RunDirectory) -> None:
    folder = comparisons_of(trained)
    if not os.access(folder if folder.is_dir() else trained.path, os.W_OK):
        raise UserError("the trained run cannot be written to", where=str(trained.path))


def _say_started(trained: RunDirectory, about: Spec, reporter: Reporter) -> None:
    reporter.event(
        "started",
        task="compare",
        run=trained.id,
        model=about.model_name_or_path,
        preset=about.preset,
        host=host_name(),
        attempt=reporter.state.attempt,
    )


def _read(
    spec: CompareSpec, trained: RunDirectory, about: Spec, reporter: Reporter
) -> tuple[RowsToAsk, ...]:
    reporter.phase("reading")
    asked = rows_to_ask(spec, about, pulse_of("reading", reporter))
    if not spec.compare_files:
        for file in changed_since(about, trained.state().started):
            message = "written after the training began: it may have trained on what is asked now"
            reporter.event("warning", message=message, where=file)
    return asked


def _digest(sets: Sequence[QuestionSet], trained: RunDirectory, tuned: Tuned) -> str:
    """Of everything that the answers depend on."""
    how = [str(tuned.device.torch_device), str(tuned.device.dtype), tuned.step]
    prompts = [[one.which, one.longest, list(q.prompt)] for one in sets for q in one.questions]
    return digest_of([how, stamp_of(trained), *prompts])


def _ask(
    who: Who,
    sets: Sequence[QuestionSet],
    asking: Asking,
    answers: Answers,
    reporter: Reporter,
) -> None:
    """All that is not answered yet, of every set."""
    rows = sum(len(one.rows) for one in sets)
    reporter.update(status=Status.RUNNING, step=len(answers), total_steps=len(_WHO) * rows)

    def say() -> None:
        done = rows - sum(len(answers.missing(one.which, who, len(one.rows))) for one in sets)
        reporter.phase(f"asking {who}", done, rows)
        reporter.update(step=len(answers))

    say()
    for one in sets:
        missing = answers.missing(one.which, who, len(one.rows))
        for numbers, texts in asking.answers(who, one.questions, missing, one.longest, one.ends):
            write = partial(answers.add, one.which, who, numbers, texts)
            reporter.with_room(write, "the answers", sum(map(len, texts)) + 2**14)
            say()
            reporter.check()


def _score(
    one: QuestionSet, metrics: Sequence[Metric], answers: Answers, judge: Judge, reporter: Reporter
) -> ScoredSet:
    answered = [
        one.answered(number, *(answers[one.which, who, number] for who in _WHO))
        for number in range(len(one.rows))
    ]
    return score_set(one.which, answered, metrics, judge, pulse_of("scoring", reporter))


def _figures(
    one: QuestionSet,
    judging: Metric,
    scored: ScoredSet,
    base_loss: float | None,
    tuned_loss: float | None,
) -> ComparedSet:
    return ComparedSet(
        which=one.which,
        files=one.files,
        rows=len(one.rows),
        left_out=one.left_out,
        longest_answer=one.longest,
        judged_by=judging.id,
        right_words=judging.right,
        measured=scored.measured,
        counts=scored.counts,
        fields=scored.fields,
        further_fields=scored.further_fields,
        base_loss=base_loss,
        tuned_loss=tuned_loss,
        notes=one.notes,
    )


def _comparison(
    run: RunDirectory,
    spec: CompareSpec,
    trained: RunDirectory,
    tuned: Tuned,
    figures: Sequence[ComparedSet],
    began: float,
    reporter: Reporter,
) -> Comparison:
    folder = folder_for(trained, run)
    dtype = str(tuned.device.dtype).removeprefix("torch.")
    quantised = {tuned.spec.load_in_4bit: "nf4", tuned.spec.load_in_8bit: "8bit"}
    return Comparison(
        folder=folder,
        name=folder.name,
        run=trained.id,
        model=tuned.reference.name,
        created=time.time(),
        seconds=round(time.monotonic() - began - reporter.held, 1),
        device=str(tuned.device.torch_device),
        dtype=dtype,
        precision=quantised.get(True, dtype),
        held_out=figures[0],
        forgetting=figures[1] if len(figures) > 1 else None,
        spec=dataclasses.asdict(spec),
        step=tuned.step,
    )


def _keep(
    comparison: Comparison,
    rows: Mapping[Which, Sequence[ComparedRow]],
    run: RunDirectory,
    reporter: Reporter,
) -> None:
    reporter.phase("saving", words=f"{count(sum(map(len, rows.values())))} rows")
    reporter.with_room(
        lambda: write_comparison(comparison, rows, run), "the comparison", bytes_of(rows)
    )
    reporter.event("compared", **compared_event(comparison))
    reporter.event("finished", seconds=comparison.seconds, why=summary_words(comparison))
