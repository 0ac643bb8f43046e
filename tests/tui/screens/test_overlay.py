"""Curves of several runs, and what two of them were asked differently."""

from pathlib import Path

import pytest
from textual.pilot import Pilot

from finetune_tui.core.runs.directory import list_runs
from finetune_tui.core.runs.state import Status
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.overlay import OverlayView
from finetune_tui.tui.screens.overlay_runs import OverlayReader, Seen
from finetune_tui.tui.screens.runs_list import RunList
from finetune_tui.tui.widgets.lines import Lines, text_of
from finetune_tui.tui.widgets.status import Footline
from tests.tui.runs_fixture import append, demo_session, fixed_services, make_run, show
from tests.tui.screens.runs_scenes import press, quiet, several, steps

SIZE = (80, 24)
AppPilot = Pilot[str | None]


def opened(home: Path) -> FinetuneApp:
    several(home)
    return FinetuneApp(fixed_services(home), demo_session())


def picture(app: FinetuneApp) -> str:
    return app.query_one("#overlay", Lines).words


def legend(app: FinetuneApp) -> list[str]:
    view = app.query_one(OverlayView)
    return picture(app).splitlines()[-len(view.runs) :]


async def click(pilot: AppPilot, text: str) -> None:
    lines = pilot.app.query_one("#overlay", Lines)
    row = next(index for index, one in enumerate(lines.lines) if text in text_of(one))
    await pilot.click(lines, offset=(text_of(lines.lines[row]).index(text) + 1, row))
    await quiet(pilot)


async def test_the_marked_runs_share_a_plot_in_the_order_of_their_marks(home: Path) -> None:
    app = opened(home)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "space", "k", "space", "g", "space", "c")
        assert [row[1:5] for row in legend(app)] == ["● r1", "▲ r2", "■ r7"]
        assert all(glyph in picture(app) for glyph in "●▲■")
        assert "best eval .155   at 300" in legend(app)[0]
        await press(pilot, "escape")
        assert app.query_one(RunList).display
        assert not app.query_one(OverlayView).display


async def test_without_marks_it_is_the_run_under_the_cursor(home: Path) -> None:
    app = opened(home)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "c")
        assert [row[1:5] for row in legend(app)] == ["● r1"]


async def test_more_than_six_are_cut_to_six(home: Path) -> None:
    for number in range(1, 10):
        make_run(home, steps(20, 10 + number), name=f"r{number}", status=Status.FINISHED)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "v", "G", "v", "c")
        assert [row[1:5] for row in legend(app)] == [
            f"{g} r{n}" for g, n in zip("●▲■◆○□", range(9, 3, -1), strict=True)
        ]
        assert "the first 6 of 9" in app.query_one(Footline).words


@pytest.mark.parametrize("size", [(45, 20), (120, 36)])
async def test_the_readout_tells_each_run_at_that_step(home: Path, size: tuple[int, int]) -> None:
    app = opened(home)
    async with app.run_test(size=size) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "space", "k", "space", "c", "right_square_bracket", "G")
        assert "at step 300" in picture(app)
        first, second = legend(app)
        assert ".155" in first
        assert "–" in second.partition("last")[0]  # it ended at step 250
        await pilot.press(*["H"] * 20)
        await quiet(pilot)
        assert "at step 0" in picture(app)
        await press(pilot, "escape")
        assert "at step" not in picture(app)
        assert app.query_one(OverlayView).display


async def test_a_click_in_the_plot_puts_the_readout_there(home: Path) -> None:
    app = opened(home)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "c")
        await pilot.click("#overlay", offset=(6 + 37, 5))
        await quiet(pilot)
        assert f"at step {round(300 * 37 / 73)}" in picture(app)


async def test_what_and_along_which_axis(home: Path) -> None:
    app = opened(home)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "c")
        seen = []
        for _ in range(4):
            seen.append(picture(app).split("[")[1].split("]")[0])
            await press(pilot, "right_square_bracket")
        assert seen == ["loss", "eval", "rate", "|g|"]
        await press(pilot, "x")
        assert "2m00" in picture(app)
        await press(pilot, "x")
        assert "200K" in picture(app)
        await click(pilot, "tokens")
        await click(pilot, "eval")
        assert "[eval]" in picture(app)
        assert "300" in picture(app)


async def test_log_and_smooth_change_the_curve_and_back(home: Path) -> None:
    app = opened(home)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "c")
        plain = picture(app)
        for key in ("y", "s"):
            await press(pilot, key)
            assert picture(app) != plain
            await press(pilot, key)
            assert picture(app) == plain


async def test_hiding_takes_a_run_out_of_the_plot_and_its_scale(home: Path) -> None:
    app = opened(home)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G", "space", "k", "space", "c")
        assert "300" in picture(app)
        await press(pilot, "space")
        plot = "\n".join(picture(app).splitlines()[:-3])
        assert "●" not in plot
        assert "300" not in plot  # the other ended at step 250
        assert "hidden" in legend(app)[0]
        await press(pilot, "space", "j", "enter")
        assert app.place_name == "train"
        assert "r2" in app.query_one("#monitor-picture", Lines).words


async def test_a_live_run_grows(home: Path) -> None:
    run = make_run(home, steps(20, 30))
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "c")
        before = legend(app)[0]
        append(run, steps(40, 30)[21:])
        view = app.query_one(OverlayView)
        view._read_live()
        await quiet(pilot)
        assert view.runs[0].points("loss", "step", smooth=False).xs[-1] == 40
        assert legend(app)[0] != before


async def test_a_run_without_events_says_so(home: Path) -> None:
    make_run(home, status=Status.FINISHED)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "c")
        assert "no loss in what is shown yet" in picture(app)
        await press(pilot, "left", "right", "j", "y", "s", "x")  # nothing to read off


def difference(app: FinetuneApp) -> str:
    return app.query_one("#difference", Lines).words


async def test_two_marked_runs_are_held_against_each_other(home: Path) -> None:
    app = opened(home)
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "D")  # it needs two
        assert app.query_one(RunList).display
        await press(pilot, "space", "G", "k", "space", "D")
        assert "r7 rank 16 against r2 rank 32" in difference(app)
        rows = {row.split()[0]: row.split()[1:] for row in difference(app).splitlines()[2:]}
        assert rows["lora_r"] == ["16", "32"]
        assert rows["packing"] == ["no", "yes"]
        await press(pilot, "x")
        assert "r2 rank 32 against r7 rank 16" in difference(app)
        await press(pilot, "y")
        assert "lora_r: 32 → 16" in app.clipboard
        await press(pilot, "escape")
        assert app.query_one(RunList).display


async def test_runs_that_were_asked_the_same(home: Path) -> None:
    make_run(home, name="r1", status=Status.FINISHED)
    make_run(home, name="r2", status=Status.FINISHED)
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=(45, 20)) as pilot:
        await show(pilot, "runs")
        await press(pilot, "v", "j", "v", "D")
        assert "the same in every key" in difference(app)


async def test_a_spec_that_cannot_be_read_is_told(home: Path) -> None:
    make_run(home, name="r1", status=Status.FINISHED)
    make_run(home, name="r2", status=Status.FINISHED)
    list_runs(home)[0].spec_path.write_text("a: [")
    app = FinetuneApp(fixed_services(home), demo_session())
    async with app.run_test(size=SIZE) as pilot:
        await show(pilot, "runs")
        await press(pilot, "v", "j", "v", "D")
        assert "spec.yaml" in difference(app)


async def test_one_reading_serves_the_preview_below_the_list_and_the_plot(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[OverlayReader] = []

    def counted(self: OverlayReader, now: float) -> Seen:
        read.append(self)
        return whole(self, now)

    whole = OverlayReader.read
    monkeypatch.setattr(OverlayReader, "read", counted)
    app = opened(home)
    async with app.run_test(size=(120, 36)) as pilot:
        await show(pilot, "runs")
        await press(pilot, "G")
        view = app.query_one(RunList)
        run = view.chosen[0].run
        view.preview._read()  # as after a rest
        await press(pilot, "c")
        assert "best eval" in legend(app)[0]
        view.preview._read()
        await quiet(pilot)
        assert app.query_one(OverlayView).runs[0] is view.preview.known[run]
        assert len({reader for reader in read if reader._run == run}) == 1
