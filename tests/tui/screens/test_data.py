import json
from pathlib import Path

from finetune_tui.core.data.report import report_of
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.data_lines import example_lines, fact_lines, length_lines
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Lines, cells, text_of
from tests.tui.runs_fixture import demo_session, fixed_services, settle, show


def write(path: Path, *rows: object) -> Path:
    texts = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(texts) + "\n")
    return path


def answers(path: Path, number: int = 20) -> Path:
    rows = [
        {"prompt": f"What is {index}?", "completion": "x" * index} for index in range(1, number + 1)
    ]
    return write(path, *rows)


def shown(app: FinetuneApp) -> str:
    return app.query_one("#data-report", Lines).words


async def test_without_a_file_it_says_what_one_looks_like(home: Path) -> None:
    app = FinetuneApp(fixed_services(home), Session())
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "data")
        assert "no data yet" in shown(app)
        assert '{"prompt": …, "completion": …}' in shown(app)
        assert "o opens a file" in shown(app)


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


async def test_bad_rows_stand_with_their_line_and_reason(home: Path) -> None:
    good = {"text": "a"}
    path = write(Path("t.jsonl"), *[good] * 6, '{"text": ', {"text": 3}, "[" * 20_000)
    session = demo_session()
    session.use_data(report_of([path]))
    app = FinetuneApp(fixed_services(home), session)
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
        assert "cannot be read" in shown(app)
        assert "late.jsonl" in shown(app)
        answers(Path("late.jsonl"))
        await pilot.press("r")
        await settle(pilot)
        assert "20 usable" in shown(app)


async def test_wide_terminals_show_examples_beside(home: Path) -> None:
    session = demo_session()
    session.use_data(report_of([answers(Path("t.jsonl"))]))
    app = FinetuneApp(fixed_services(home), session)
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "data")
        assert "What is 1?" not in shown(app)
        assert "What is 1?" in app.query_one("#data-examples", Lines).words


def test_what_is_trained_is_marked_by_more_than_colour(tmp_path: Path) -> None:
    report = report_of([answers(tmp_path / "t.jsonl", 1)])
    lines = example_lines(report.examples, Spec(), 80)
    styles = {span.text: span.style for one in lines for span in one}
    assert styles["What is 1?"] == "dim"
    assert styles["x"] == "under"
    everything = example_lines(report.examples, Spec(completion_only_loss=False), 80)
    assert {span.text: span.style for one in everything for span in one}["What is 1?"] == "under"


def test_messages_show_roles_and_train_the_assistant(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "hello\x1b[31m\nthere"},
        {"role": "assistant", "content": "good day"},
    ]
    report = report_of([write(tmp_path / "t.jsonl", {"messages": talk})])
    lines = example_lines(report.examples, Spec(), 80)
    styles = {span.text: span.style for one in lines for span in one}
    assert styles["user: hello"] == "dim"
    assert styles["assistant: good day"] == "under"
    assert "\x1b" not in "".join(styles)


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
        lines = length_lines(lengths, width)
        assert all(cells(one) <= width for one in lines)
        assert len(lines) == 2 + len(lengths.histogram)
