"""The log of a run: redrawn lines as they ended, its end however long it is, and words found in it."""

import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.paging import page
from finetune_tui.tui.screens.monitor import Monitor
from finetune_tui.tui.screens.monitor_log import read_tail, redrawn, shown, whole_log
from finetune_tui.tui.widgets.finding import matching, pointed_out
from finetune_tui.tui.widgets.lines import Lines, Span, line, text_of
from finetune_tui.tui.widgets.status import Footline
from tests.tui.runs_fixture import fixed_services, make_run, preparation, settle, show, training

BAR = "  0%|    | 0/3\r 33%|█   | 1/3\r100%|████| 3/3"


def test_a_bar_that_was_redrawn_is_one_line_as_it_ended() -> None:
    assert redrawn(BAR) == "100%|████| 3/3"
    assert redrawn("loading\r\n".rstrip("\n")) == "loading"
    assert redrawn("a longer line\rshort") == "shortger line"  # as a terminal shows it
    assert redrawn("a longer line\r\x1b[Kshort") == "short"
    words = [text_of(one) for one in shown(f"before\n{BAR}\n\x1b[31mafter\x1b[0m\n", "")]
    assert words == [" before", " 100%|████| 3/3", " after"]
    assert [text_of(one) for one in shown("", "nothing")] == [" nothing"]


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n\x1b[K\t\x9b"), max_size=80))
def test_no_printed_text_acts_on_the_terminal(text: str) -> None:
    for one in shown(text, ""):
        assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text_of(one))


def test_a_long_log_is_read_from_its_end_and_costs_no_more(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {number}\n" for number in range(50_000)))
    tail = read_tail(log)
    assert tail.endswith("line 49999\n")
    assert tail.startswith("line ")
    assert len(tail) <= 64 * 1024
    tracemalloc.start()
    assert sum(1 for _ in whole_log(log)) == 50_000
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    log.write_text("x" * 200_000 + BAR)  # one line without an end
    assert read_tail(log).endswith("3/3")
    assert read_tail(tmp_path / "none") == ""


def test_words_are_found_in_whatever_case() -> None:
    lines = [line(Span("Loss", "strong"), " 0.4"), line("rate"), line("no loss")]
    assert matching(lines, "loss") == [0, 2]
    assert matching(lines, "s 0") == [0]
    assert matching(lines, "") == []
    assert pointed_out(lines[0], "s 0") == (
        Span("Los", "strong"),
        Span("s", "strong under"),
        Span(" 0", "under"),
        Span(".4"),
    )


@given(st.lists(st.text(max_size=6), max_size=4), st.text(min_size=1, max_size=3))
def test_pointing_out_changes_no_text(texts: list[str], words: str) -> None:
    whole = line(*(Span(text, "dim") for text in texts))
    assert text_of(pointed_out(whole, words)) == text_of(whole)


async def test_finding_in_the_log(tmp_path: Path) -> None:
    printed = "".join(
        f"line {number}{' lost' if number % 40 == 7 else ''}\n" for number in range(200)
    )
    run = make_run(tmp_path, [*preparation(), *training()], log=printed)
    app = FinetuneApp(fixed_services(tmp_path))
    app.session.monitored = run
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("l")
        await settle(pilot)
        panel, foot = app.query_one("#monitor-panel", Lines), app.query_one(Footline)

        def in_view() -> str:
            return panel.words.splitlines()[panel.scroll_offset.y :][: panel.size.height][-1]

        assert "line 199" in in_view()  # it follows
        await pilot.press("slash", *"LOST", "enter")
        await settle(pilot)
        assert "of 5 · n next" in foot.words
        first = panel.scroll_offset.y
        await pilot.press("n")
        assert panel.scroll_offset.y != first
        assert "2 of 5" in foot.words
        await pilot.press("N", "N")
        assert "5 of 5" in foot.words
        await pilot.press("escape")  # the search, and not yet the monitor
        await settle(pilot)
        assert app.query_one(Monitor).display
        assert not app.query_one(Monitor).is_finding
        await pilot.press("n")
        await settle(pilot)
        assert "start" in foot.words  # the settings, for a new run


async def test_words_that_are_not_there(tmp_path: Path) -> None:
    run = make_run(tmp_path, [*preparation(), *training()])
    app = FinetuneApp(fixed_services(tmp_path))
    app.session.monitored = run
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("slash", *"2048", "enter")
        await settle(pilot)
        assert app.place_name == "train"
        assert "'2048' is not here" in app.query_one(Footline).words


def test_the_pager_gets_every_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    page((f"line {number}" for number in range(100_000)), f"tee {out}")
    assert len(out.read_text().splitlines()) == 100_000


def test_a_pager_that_is_closed_early_is_no_fault() -> None:
    page((f"line {number}" for number in range(10_000_000)), "head -c 10")


@pytest.mark.parametrize("pager", ["/no/such/pager", "less 'unclosed", "/tmp"])
def test_a_pager_that_does_not_work(pager: str) -> None:
    with pytest.raises(UserError, match="the pager did not work"):
        page(["a"], pager)


def test_the_pager_of_the_settings_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", f"tee {tmp_path}/environment")
    page(["a"], f'{sys.executable} -c \'import sys; open("{tmp_path}/settings", "w")\'')
    assert [path.name for path in tmp_path.iterdir()] == ["settings"]
    page(["a"], None)
    assert (tmp_path / "environment").read_text() == "a\n"


def test_a_log_that_is_no_file_is_an_empty_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.txt")
    assert read_tail(tmp_path / "log.txt") == ""
    assert list(whole_log(tmp_path / "log.txt")) == []


async def test_the_log_can_have_the_whole_height_and_pages(tmp_path: Path) -> None:
    printed = "".join(f"line {number}\n" for number in range(200))
    run = make_run(tmp_path, [*preparation(), *training()], log=printed)
    app = FinetuneApp(fixed_services(tmp_path))
    app.session.monitored = run
    async with app.run_test(size=(80, 24)) as pilot:
        await show(pilot, "train")
        await pilot.press("l")
        await settle(pilot)
        panel = app.query_one("#monitor-panel", Lines)
        before = panel.size.height
        await pilot.press("plus")
        await settle(pilot)
        assert panel.size.height > 2 * before
        picture = app.query_one("#monitor-picture", Lines).words
        assert "[output]" in picture
        assert "loss" in picture
        end = panel.scroll_offset.y
        await pilot.press("pageup")
        await settle(pilot)
        assert panel.scroll_offset.y == end - panel.size.height + 1
        await pilot.press("plus")
        await settle(pilot)
        assert panel.size.height == before
