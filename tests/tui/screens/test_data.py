"""The Data place: what it says of files, tokens and examples, and how counting goes on beside it."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from finetune_tui.core.data.report import report_of
from finetune_tui.core.data.token_report import TokenQuestion, TokenReport
from finetune_tui.core.errors import UserError
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.counting import question_of
from finetune_tui.tui.screens.data_counting import CountState
from finetune_tui.tui.screens.data_lines import fact_lines, length_lines, token_lines
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Lines, cells, text_of
from finetune_tui.tui.widgets.prompt import PromptLine
from finetune_tui.tui.widgets.status import Footline
from tests.tui.runs_fixture import demo_session, fixed_services, settle, show
from tests.tui.tokens_fixture import count_words


def write(path: Path, *rows: object) -> Path:
    texts = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(texts) + "\n")
    return path


def answers(path: Path, number: int = 20) -> Path:
    rows = [
        {"prompt": f"What is {index}?", "completion": " x" * index}
        for index in range(1, number + 1)
    ]
    return write(path, *rows)


def shown(app: FinetuneApp) -> str:
    return app.query_one("#data-report", Lines).words


def example(app: FinetuneApp) -> str:
    return app.query_one("#data-example", Lines).words


def session_with(path: Path) -> Session:
    session = demo_session()
    session.use_data(report_of([path]))
    return session


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause(0.01)


class Counts:
    """Stands in for the call; goes on until it is let go or cancelled."""

    def __init__(self) -> None:
        self.asked: list[TokenQuestion] = []
        self.may_end = threading.Event()
        self.was_cancelled = False

    def count(
        self, question: TokenQuestion, progress: Callable[[str], None], cancelled: threading.Event
    ) -> TokenReport:
        self.asked.append(question)
        progress("tokenising 40%")
        while not self.may_end.wait(0.01):
            if cancelled.is_set():
                self.was_cancelled = True
                raise UserError("cancelled")
        return count_words(question, progress, cancelled)


# What the files hold


async def test_without_data_it_says_what_it_looks_like(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), Session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "no data yet" in shown(app)
        assert "messages, conversations     the assistant is trained" in shown(app)
        assert "o opens a file, folder or data set" in shown(app)


async def test_a_path_is_typed_and_its_file_read(home: Path) -> None:
    answers(Path("mine1.jsonl"))
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        await pilot.press("o", *"mine1", "full_stop", *"jsonl", "enter")
        await settle(pilot)
        assert app.place_name == "data"
        assert app.session.spec.train_files[0].endswith("mine1.jsonl")
        assert "20 usable" in shown(app)


async def test_a_mistyped_file_is_there_to_be_mended(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        await pilot.press("o", *"nowhere1", "enter")
        await settle(pilot)
        await pilot.press("o")
        assert app.query_one(PromptLine).query_one(Input).value == "nowhere1"


async def test_a_data_set_of_the_hub_keeps_its_name(home: Path) -> None:
    asked: list[Any] = []

    def read(sources: Any, _progress: Any = None) -> Any:
        asked.append(sources)
        raise UserError("no network here")

    app = FinetuneApp(fixed_services(home, read_data=read), Session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        app.opening.data("hf://datasets/owner/name")
        await settle(pilot)
    assert list(asked[0]) == ["hf://datasets/owner/name"]


async def test_a_folder_is_read_once(home: Path) -> None:
    reads = 0

    def read(sources: Any, _progress: Any = None) -> Any:
        nonlocal reads
        reads += 1
        return report_of(sources)

    Path("many").mkdir()
    answers(Path("many/a.jsonl"), 3)
    answers(Path("many/b.jsonl"), 4)
    session = demo_session()
    session.change_spec(train_files=["many"])
    app = FinetuneApp(fixed_services(home, read_data=read), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "7 usable" in shown(app)
        await app.action_show_place("runs")
        await show(pilot, "data")
        assert reads == 1


async def test_bad_rows_stand_with_their_line_and_reason(home: Path) -> None:
    good = {"text": "a"}
    path = write(Path("t.jsonl"), *[good] * 6, '{"text": ', {"text": 3}, "[" * 20_000)
    app = FinetuneApp(fixed_services(home), session_with(path))
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "6 usable, 3 bad, 5 repeated" in shown(app)
        assert "t.jsonl:7 broken JSON" in shown(app)
        assert "t.jsonl:9" in shown(app)
        assert "skipped" in shown(app)


async def test_a_file_that_cannot_be_read_says_why_and_can_be_read_again(home: Path) -> None:
    session = demo_session()
    session.change_spec(train_files=["late.jsonl"])
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "not read" in shown(app)
        assert "late.jsonl" in shown(app)
        answers(Path("late.jsonl"))
        await pilot.press("r")
        await until(pilot, lambda: "20 usable" in shown(app))


def test_the_split_is_said_in_rows(tmp_path: Path) -> None:
    report = report_of([answers(tmp_path / "t.jsonl", 40)])

    def split(spec: Spec) -> str:
        return "\n".join(text_of(one) for one in fact_lines(report, spec, 80))

    assert "held out  2 rows  (5%, drawn by content and seed 42)" in split(Spec())
    assert "held out  rows of h.jsonl" in split(Spec(eval_files=("a/h.jsonl",)))
    assert "will not be known" in split(Spec(eval_split=0))


def test_a_histogram_has_no_gap_and_keeps_to_its_width(tmp_path: Path) -> None:
    lengths = report_of([answers(tmp_path / "t.jsonl", 300)]).lengths
    for width in (60, 80, 120):
        lines = length_lines(lengths, width, limit=50)
        assert all(cells(one) <= width for one in lines)
        assert len(lines) == 2 + len(lengths.histogram)


def test_the_bars_beyond_max_length_are_marked_by_a_sign(tmp_path: Path) -> None:
    lengths = report_of([answers(tmp_path / "t.jsonl", 300)]).lengths
    limit = lengths.histogram[3][0]
    marked = [("✂" in text_of(one)) for one in length_lines(lengths, 80, limit)[2:]]
    assert marked == [upper > limit and rows > 0 for upper, rows in lengths.histogram]


async def test_reading_says_how_far_it_is_and_can_be_cancelled(home: Path) -> None:
    may_end = threading.Event()

    def read(sources: Any, progress: Any = None) -> Any:
        while not may_end.wait(0.01):
            progress(4, 10)
        return report_of(sources)

    session = demo_session()
    session.change_spec(train_files=[str(answers(Path("t.jsonl")))])
    app = FinetuneApp(fixed_services(home, read_data=read), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_show_place("data")
        await until(pilot, lambda: "reading 40%…  esc cancel" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: "reading was cancelled" in shown(app))
        may_end.set()
        await pilot.press("r")
        await settle(pilot)
        assert "20 usable" in shown(app)


# In tokens


async def test_it_is_counted_beside_the_screen(home: Path) -> None:
    counts = Counts()
    app = FinetuneApp(
        fixed_services(home, count_tokens=counts.count), session_with(answers(Path("t.jsonl"), 40))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_show_place("data")
        await until(pilot, lambda: "▸ tokenising 40%  esc cancel" in shown(app))
        counts.may_end.set()
        await settle(pilot)
        assert "✓ is learnt" in shown(app)
        assert "lengths in tokens" in shown(app)
        assert "no row at max_length 256" in shown(app)
        assert len(counts.asked) == 1


async def test_another_max_length_is_counted_anew(home: Path) -> None:
    session = session_with(answers(Path("t.jsonl"), 40))
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "no row at max_length 256" in shown(app)
        session.change_spec(max_length=24)
        app.session_changed()
        await settle(pilot)
        assert "! 20 rows (50%) lose 210 tokens at max_length 24" in shown(app)
        assert "✂" in shown(app)


async def test_escape_cancels_and_c_counts_again(home: Path) -> None:
    counts = Counts()
    app = FinetuneApp(
        fixed_services(home, count_tokens=counts.count), session_with(answers(Path("t.jsonl")))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_show_place("data")
        await until(pilot, lambda: "tokenising" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: counts.was_cancelled)
        await settle(pilot)
        assert "tokens    c counts them" in shown(app)
        counts.may_end.set()
        await pilot.press("c")
        await settle(pilot)
        assert "✓ is learnt" in shown(app)


async def test_leaving_the_app_ends_it(home: Path) -> None:
    counts = Counts()
    app = FinetuneApp(
        fixed_services(home, count_tokens=counts.count), session_with(answers(Path("t.jsonl")))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_show_place("data")
        await until(pilot, lambda: "tokenising" in shown(app))
    deadline = time.monotonic() + 10
    while not counts.was_cancelled:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_why_it_cannot_be_counted_is_said_in_the_place(home: Path) -> None:
    def refuse(*_: Any) -> TokenReport:
        raise UserError("no trained tokens", where="t.jsonl:1", hint="raise max_length")

    app = FinetuneApp(
        fixed_services(home, count_tokens=refuse), session_with(answers(Path("t.jsonl")))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "cannot be counted: t.jsonl:1: no trained tokens; raise max_length" in shown(app)
        assert "c counts them again" in shown(app)


async def test_a_tokenizer_is_fetched_only_when_asked_for(home: Path) -> None:
    counts = Counts()
    counts.may_end.set()
    session = session_with(answers(Path("t.jsonl")))
    reference = dataclasses.replace(find_model("phi-2"), folder=None)
    assert reference.entry is not None
    session.open_model(reference, reference.entry.manifest())
    session.use_data(report_of(["t.jsonl"]))
    app = FinetuneApp(fixed_services(home, count_tokens=counts.count), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert not counts.asked
        assert "c fetches it, a few MB, and counts" in shown(app)
        await pilot.press("c")
        await settle(pilot)
        assert counts.asked[0].model == "microsoft/phi-2"


async def test_without_a_model_it_says_what_is_missing(home: Path) -> None:
    session = Session()
    session.use_data(report_of([answers(Path("t.jsonl"))]))
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "no model to count them for: 1 opens one" in shown(app)
        await pilot.press("n")
        await settle(pilot)
        assert "What is 1?" in example(app)


def test_a_row_is_cut_where_the_model_ends() -> None:
    session = demo_session()
    assert session.manifest is not None
    context = session.manifest.config.context
    assert context is not None
    session.change_spec(max_length=context)
    longer = dataclasses.replace(session.spec, max_length=10 * context)
    assert question_of(longer, session.manifest).max_length == context


@pytest.mark.parametrize("width", [38, 45, 80, 120])
def test_every_line_of_facts_fits(width: int, tmp_path: Path) -> None:
    session = session_with(answers(tmp_path / "t.jsonl", 300))
    question = session.token_question
    assert question is not None
    assert session.data is not None
    tokens = count_words(question, lambda _words: None, threading.Event())
    for state in (CountState(), CountState(error="a long reason " * 20)):
        for found in (tokens, None):
            lines = token_lines(found, state, "", width)
            assert max(map(cells, lines)) <= max(width, 70)


# Examples


async def test_wide_terminals_show_an_example_beside(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), session_with(answers(Path("t.jsonl"))))
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "data")
        assert "example 1 of 5" in example(app)
        assert "What is 1?" in example(app)
        await pilot.press("n")
        await settle(pilot)
        assert "What is 2?" in example(app)
        await pilot.press("N", "N")
        await settle(pilot)
        assert "What is 5?" in example(app)


async def test_narrow_terminals_show_one_pane_at_a_time(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), session_with(answers(Path("t.jsonl"))))

    def panes() -> list[str]:
        found = [app.query_one("#data-report"), app.query_one("#data-example")]
        return [str(pane.id) for pane in found if pane.display]

    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert panes() == ["data-report"]
        await pilot.press("right_square_bracket")
        await settle(pilot)
        assert panes() == ["data-example"]
        assert "What is 1?" in example(app)
        await pilot.press("n")
        await settle(pilot)
        assert "What is 2?" in example(app)
        await pilot.press("left_square_bracket")
        await settle(pilot)
        assert panes() == ["data-report"]


async def test_borders_between_tokens_are_shown_when_asked(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), session_with(answers(Path("t.jsonl"))))
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "data")
        assert "What is 1? x<|endoftext|>" in example(app)
        await pilot.press("b")
        await settle(pilot)
        assert "What│ is│ 1?│ x│<|endoftext|>" in example(app)


async def test_words_are_found_in_the_pane_and_n_goes_on(home: Path) -> None:
    path = write(
        home / "t.jsonl", {"prompt": "a", "completion": "x\n" * 60 + "needle\n" + "y\n" * 30}
    )
    app = FinetuneApp(fixed_services(home), session_with(path))
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        await pilot.press("n")  # an example, while nothing is looked for
        await settle(pilot)
        pane = app.query_one("#data-example", Lines)
        before = list(pane.lines)[1:]
        await pilot.press("slash", *"NEEDLE", "enter")
        await settle(pilot)
        assert [text_of(one) for one in pane.lines][1:] == [text_of(one) for one in before]
        assert list(pane.lines)[1:] != before
        assert pane.scroll_offset.y > 0
        assert "1 line · n next" in app.query_one(Footline).words
        await pilot.press("y")
        await settle(pilot)
        assert "needle" in (home / "copied.txt").read_text()
        await pilot.press("escape")
        await settle(pilot)
        assert list(pane.lines)[1:] == before
        await pilot.press("tab")
        await settle(pilot)
        assert app.query_one("#data-report").display


async def test_one_pane_can_have_the_whole_width(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), session_with(answers(home / "t.jsonl")))
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "data")
        await pilot.press("plus")
        await settle(pilot)
        assert app.query_one("#data-report").size.width == 120
        await pilot.press("plus")
        await settle(pilot)
        assert app.query_one("#data-report").size.width < 70
