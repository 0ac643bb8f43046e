"""Pictures of the frame, Model and Layers. After a change on purpose: pytest --snapshot-update."""

from collections.abc import Callable

import pytest

from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.services import Services
from finetune_tui.tui.themes import LIGHT
from tests.tui.conftest import RunBefore, fixed_services, opened, pressed

SMALL, LARGE, NARROW = (80, 24), (120, 36), (45, 20)
IN_SOAK = {size: pytest.param(size, marks=pytest.mark.soak) for size in (LARGE, NARROW)}

Compare = Callable[..., bool]


@pytest.mark.parametrize("size", [SMALL, IN_SOAK[LARGE]])
def test_model(snap_compare: Compare, app: FinetuneApp, size: tuple[int, int]) -> None:
    assert snap_compare(app, terminal_size=size, run_before=pressed("j"))


def test_model_without_a_gpu(snap_compare: Compare, services: Services) -> None:
    app = FinetuneApp(fixed_services(services.home, gpu=False))
    assert snap_compare(app, terminal_size=SMALL, run_before=pressed())


@pytest.mark.parametrize("size", [SMALL, *IN_SOAK.values()])
@pytest.mark.parametrize(
    "before",
    [
        pytest.param(pressed("d", "j", "j", "j"), id="demo"),
        pytest.param(opened("phi-2", "p", "j", "enter", "escape", *"jjjj", "space"), id="phi-2"),
    ],
)
def test_layers(
    snap_compare: Compare, app: FinetuneApp, size: tuple[int, int], before: RunBefore
) -> None:
    assert snap_compare(app, terminal_size=size, run_before=before)


def test_presets(snap_compare: Compare, app: FinetuneApp) -> None:
    assert snap_compare(app, terminal_size=SMALL, run_before=opened("phi-2", "p", "j"))


@pytest.mark.soak
def test_layers_in_daylight(snap_compare: Compare, app: FinetuneApp) -> None:
    app.theme = LIGHT.name
    assert snap_compare(
        app, terminal_size=LARGE, run_before=opened("phi-2", "p", "enter", "escape")
    )


@pytest.mark.parametrize("size", [SMALL, IN_SOAK[LARGE]])
def test_help(snap_compare: Compare, app: FinetuneApp, size: tuple[int, int]) -> None:
    assert snap_compare(app, terminal_size=size, run_before=opened("phi-2", "question_mark"))


@pytest.mark.parametrize("size", [SMALL, IN_SOAK[LARGE]])
@pytest.mark.parametrize(
    "before",
    [
        pytest.param(
            opened("llama-3.1-8b", "p", *"jjjj", "enter", "escape", *"jjjj", "m", "f"), id="llama"
        ),
        pytest.param(opened("qwen3-30b-a3b", "slash", *"experts", "enter", "l"), id="moe"),
        pytest.param(opened("qwen2.5-1.5b-instruct", "m", "f", "G"), id="tied"),
        pytest.param(opened("qwen2.5-1.5b-instruct", "r"), id="report"),
        pytest.param(pressed("m", "b", "z", "z", "j"), id="filters"),
    ],
)
def test_models_of_every_kind(
    snap_compare: Compare, app: FinetuneApp, size: tuple[int, int], before: RunBefore
) -> None:
    assert snap_compare(app, terminal_size=size, run_before=before)


@pytest.mark.soak
def test_the_difference_of_two_models(snap_compare: Compare, app: FinetuneApp) -> None:
    keys = ("slash", *"phi-", "enter", "x", "j", "j", "x")
    assert snap_compare(app, terminal_size=LARGE, run_before=pressed(*keys))
