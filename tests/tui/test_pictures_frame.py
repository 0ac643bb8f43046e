"""Pictures of the help, the terminal's own colours, and words found. After a change on purpose: pytest
--snapshot-update."""

from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.services import Services
from finetune_tui.tui.themes import ANSI
from tests.tui import runs_fixture
from tests.tui.conftest import AppPilot, opened, pressed

SMALL, LARGE, NARROW = (80, 24), (120, 36), (45, 20)
IN_SOAK = {size: pytest.param(size, marks=pytest.mark.soak) for size in (LARGE, NARROW)}

Compare = Callable[..., bool]


@pytest.mark.parametrize("size", [SMALL, IN_SOAK[NARROW]])
def test_help_on_a_setting(snap_compare: Compare, app: FinetuneApp, size: tuple[int, int]) -> None:
    keys = opened("phi-2", "4", "j", "question_mark")
    assert snap_compare(app, terminal_size=size, run_before=keys)


@pytest.mark.parametrize("size", [SMALL, IN_SOAK[LARGE]])
@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(("j", "v", "j", "j"), id="range"),
        pytest.param(("4", "j", "enter"), id="field"),
        pytest.param(("colon", "down"), id="palette"),
    ],
)
def test_the_terminals_own_colours(
    snap_compare: Compare, app: FinetuneApp, size: tuple[int, int], keys: tuple[str, ...]
) -> None:
    app.theme = ANSI.name
    assert snap_compare(app, terminal_size=size, run_before=opened("phi-2", *keys))


def test_no_color(
    snap_compare: Compare, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    keys = opened("phi-2", "j", "j", "space")
    assert snap_compare(FinetuneApp(services), terminal_size=SMALL, run_before=keys)


def test_copied(snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = FinetuneApp(runs_fixture.fixed_services(Path("home")))
    assert snap_compare(app, terminal_size=NARROW, run_before=pressed("y"))


def test_words_found_in_the_log(snap_compare: Compare, tmp_path: Path) -> None:
    run = runs_fixture.make_run(
        tmp_path, [*runs_fixture.preparation(), *runs_fixture.training()], step=176
    )
    app = FinetuneApp(runs_fixture.fixed_services(tmp_path))
    app.session.monitored = run

    async def before(pilot: AppPilot) -> None:
        await runs_fixture.show(pilot, "train")
        await pilot.press("plus", "slash", *"eval", "enter")
        await runs_fixture.settle(pilot)

    assert snap_compare(app, terminal_size=SMALL, run_before=before)
