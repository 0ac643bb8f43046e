"""The Layers place: keys and mouse do what SCREENS.md says, and what they did is seen at once."""

import pytest
from textual.events import MouseScrollDown

from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.presets import PRESETS
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.layers import LayersPlace
from finetune_tui.tui.screens.layers_side import SideColumn
from finetune_tui.tui.widgets.module_tree import ModuleTree
from finetune_tui.tui.widgets.preset_list import PresetList
from finetune_tui.tui.widgets.report_pane import ReportPane
from finetune_tui.tui.widgets.status import Footline, StatusLine
from tests.tui.conftest import AppPilot, open_model, press, settled

SIZE = (80, 24)
FC1 = "model.layers.{}.mlp.fc1"


def tree(app: FinetuneApp) -> ModuleTree:
    return app.query_one(ModuleTree)


def label(app: FinetuneApp) -> str:
    rows = tree(app).rows
    assert rows is not None
    return rows.row.label


def memory(app: FinetuneApp) -> str:
    place = app.query_one(LayersPlace)
    return place.memory_words


def foot(app: FinetuneApp) -> str:
    return app.query_one(Footline).words


async def go_to(pilot: AppPilot, app: FinetuneApp, wanted: str) -> None:
    await press(pilot, "g")
    for _ in range(100):
        if label(app) == wanted:
            return
        await pilot.press("j")
    raise AssertionError(f"no row {wanted}")


async def test_moving_and_folding(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "j", "j")
        assert label(app) == "self_attn"
        await press(pilot, "h")
        assert "q_proj" not in [row.label for row in tree(app).rows.rows]  # type: ignore[union-attr]
        await press(pilot, "l", "l")
        assert label(app) == "q_proj"
        await press(pilot, "G")
        assert label(app) == "lm_head"
        await press(pilot, "g", "up")
        assert label(app) == "embed_tokens"


async def test_space_moves_the_memory_panel_with_the_same_key(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await go_to(pilot, app, "fc1")
        before = memory(app)
        await pilot.press("space")
        assert memory(app) != before
        assert "3.28M" in app.query_one(StatusLine).words
        assert app.session.selection.mode(FC1.format(31)) is Mode.LORA
        await pilot.press("space")
        assert not app.session.selection.choices


async def test_a_single_block_is_edited_alone_and_a_takes_it_to_all(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "slash", *"layers.7.mlp.fc1", "enter")
        assert label(app) == "fc1"
        await press(pilot, "space")
        assert list(app.session.selection.choices) == [FC1.format(7)]
        await press(pilot, "a")
        assert len(app.session.selection.choices) == 32
        await press(pilot, "a")
        assert not app.session.selection.choices


async def test_a_mode_with_digits_for_the_rank(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await go_to(pilot, app, "lm_head")
        await press(pilot, "m")
        assert "l lora" in foot(app)
        await press(pilot, "l", "6", "4")
        assert app.session.selection.choices["lm_head"] == Choice(Mode.LORA, 64, 128)
        assert app.place_name == "layers"  # a digit belonged to the rank
        await press(pilot, "enter", "u")
        assert not app.session.selection.choices
        await press(pilot, "U", "m", "0")
        assert not app.session.selection.choices


async def test_full_and_bias_are_set_and_counted_exactly(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "qwen2.5-1.5b-instruct")
        await go_to(pilot, app, "q_proj")
        await press(pilot, "m", "f")
        assert foot(app).strip() == "28 modules: full"
        assert app.session.trainable == 28 * 1536 * 1537
        await go_to(pilot, app, "layers.0–27")
        await press(pilot, "m", "b")
        assert app.session.trainable == 28 * 2048
        await press(pilot, "u")
        assert app.session.trainable == 28 * 1536 * 1537
        await press(pilot, "m", "0")
        assert not app.session.selection.choices


@pytest.mark.parametrize(
    ("row", "key", "says"),
    [
        ("gate_proj", "b", "no bias"),
        ("norms", "l", "RMSNorm has no matrix"),
        ("embed_tokens", "l", "share one matrix"),
        ("lm_head", "f", "same matrix as model.embed_tokens"),
        ("mlp", "0", "nothing here trains"),
    ],
)
async def test_a_mode_that_cannot_be_says_why(
    app: FinetuneApp, row: str, key: str, says: str
) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "qwen2.5-1.5b-instruct")
        await go_to(pilot, app, row)
        await press(pilot, "m", key)
        assert says in foot(app)
        assert not app.session.selection.choices


async def test_alpha_is_typed_after_a(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await go_to(pilot, app, "lm_head")
        await press(pilot, "m", "l", "4", "a", "6", "4")
        assert app.session.selection.choices["lm_head"] == Choice(Mode.LORA, 4, 64)
        assert "rank 4, alpha 64" in foot(app)
        await press(pilot, "enter", "u")
        assert not app.session.selection.choices


async def test_every_block_gets_what_one_has(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "slash", *"layers.7.mlp.fc1", "enter", "m", "f", "a")
        assert len(app.session.selection.names(Mode.FULL)) == 32
        await press(pilot, "a")
        assert not app.session.selection.choices


async def test_all_that_was_found_is_set_as_one(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "slash", *"mlp", "enter", "A")
        assert "64 modules" in foot(app)
        await press(pilot, "m", "f")
        assert len(app.session.selection.names(Mode.FULL)) == 64
        await press(pilot, "slash", *"full", "enter")
        assert "2 found" in foot(app)
        assert label(app) in ("fc1", "fc2")


async def test_modes_and_ranges_by_mouse(app: FinetuneApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_model(pilot, "phi-2")
        await pilot.click(ModuleTree, offset=(10, 8))
        await pilot.click(ModuleTree, offset=(10, 9), shift=True)
        side = app.query_one(SideColumn)
        at = next(y for y, made in enumerate(side.details.words.splitlines()) if "mode" in made)
        x = side.details.words.splitlines()[at].index("full")
        await pilot.click(side.details, offset=(x, at))
        assert len(app.session.selection.names(Mode.FULL)) == 64
        await pilot.click(side.details, offset=(x - 4, at))  # lora
        await settled(pilot)
        x = side.details.words.splitlines()[at].index("×2")
        await pilot.click(side.details, offset=(x, at))
        assert {choice.r for choice in app.session.selection.choices.values()} == {None, 16}


async def test_everything_is_unfolded_and_folded(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await go_to(pilot, app, "single blocks")
        await press(pilot, "L")
        rows = tree(app).rows
        assert rows is not None
        assert sum(row.label == "fc1" for row in rows.rows) == 33
        await press(pilot, "H")
        assert [row.depth for row in rows.rows] == [0, 0, 0, 0]


async def test_the_report_is_a_tab_to_read(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "qwen2.5-1.5b-instruct")
        await press(pilot, "r")
        report = app.query_one(ReportPane)
        assert "grouped-query, 12/2" in report.words
        await press(pilot, "G")
        assert "8,192" in report.text
        assert "BitFit" in report.words
        await press(pilot, "escape")
        assert tree(app).has_focus


async def test_after_a_mode_digits_lead_to_places_again(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "m", "l", "8", "enter", "1")
        assert app.place_name == "model"


async def test_a_range_is_toggled_as_one(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await go_to(pilot, app, "fc1")
        await press(pilot, "v", "j", "space")
        assert len(app.session.selection.choices) == 64
        await press(pilot, "k", "space")  # the range has ended
        assert len(app.session.selection.choices) == 32


async def test_what_cannot_be_trained_says_so(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await go_to(pilot, app, "input_layernorm")
        await press(pilot, "space")
        assert "LayerNorm" in foot(app)
        assert not app.session.selection.choices


async def test_presets_by_keys(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "p", "j", "j", "enter")
        assert app.session.preset == "new-knowledge"
        assert "new-knowledge chosen" in foot(app)
        await press(pilot, "escape", "j")
        assert label(app) == "layers.0–31"
        await press(pilot, "u")
        assert app.session.preset is None


async def test_tabs_and_zoom(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        assert not app.query_one(PresetList).display
        await press(pilot, "right_square_bracket")
        assert app.query_one(PresetList).display
        await press(pilot, "left_square_bracket")
        assert not app.query_one(PresetList).display
        width = tree(app).size.width
        await press(pilot, "plus")
        assert tree(app).size.width == 80
        await press(pilot, "escape")
        assert tree(app).size.width == width


async def test_finding_says_how_many_and_what_is_not_there(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "slash", "f", "c", "enter")
        assert "2 found" in foot(app)
        assert label(app) == "fc1"
        await press(pilot, "n")
        assert label(app) == "fc2"
        await press(pilot, "N")
        assert label(app) == "fc1"
        await press(pilot, "slash", *"zebra", "enter")
        assert "'zebra'" in foot(app)


async def test_digits_typed_in_a_question_stay_there(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "slash", "1", "escape")
        assert app.place_name == "layers"
        await press(pilot, "1")
        assert app.place_name == "model"


async def test_copying_full_names(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await go_to(pilot, app, "fc2")
        await press(pilot, "y")
        assert app.clipboard == "model.layers.{0..31}.mlp.fc2"


async def test_the_mouse_selects_folds_toggles_and_scrolls(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await pilot.click(ModuleTree, offset=(10, 8))
        assert label(app) == "fc1"
        await pilot.click(ModuleTree, offset=(30, 8))
        assert len(app.session.selection.choices) == 32
        rows = tree(app).rows
        assert rows is not None
        await pilot.click(ModuleTree, offset=(1, 2))
        assert len(rows.rows) == 4
        await pilot.click(ModuleTree, offset=(1, 2))
        assert len(rows.rows) == 13


async def test_the_mouse_chooses_presets_tabs_places_and_footer_entries(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await pilot.click(LayersPlace, offset=(52, 0))  # the tab
        await settled(pilot)
        assert app.query_one(PresetList).display
        await pilot.click(PresetList, offset=(10, 8))
        await settled(pilot)
        assert app.session.preset == list(PRESETS)[7]
        await pilot.click("Masthead", offset=(3, 0))
        await settled(pilot)
        assert app.place_name == "model"


async def test_a_terminal_that_changes_its_size(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        for size in ((120, 36), (45, 20), (60, 10), (20, 5), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await press(pilot, "p", "escape", "j")
        assert app.place_name == "layers"


async def test_one_column_shows_presets_in_place_of_the_tree(app: FinetuneApp) -> None:
    async with app.run_test(size=(45, 20)) as pilot:
        await open_model(pilot, "demo")
        await press(pilot, "p")
        assert not tree(app).is_on_screen
        await press(pilot, "enter", "escape")
        assert app.session.preset is not None
        assert tree(app).is_on_screen


async def test_without_a_model_every_key_is_harmless(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(
            pilot, "2", "j", "space", "m", "a", "v", "u", "U", "n", "y", "p", "enter", "escape"
        )
        assert app.place_name == "layers"
        assert "no model open" in app.query_one(StatusLine).words


async def test_what_was_scrolled_to_stays_when_the_machine_is_read_again(app: FinetuneApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "slash", *"layers.20.mlp", "enter", "g")
        await pilot._post_mouse_events([MouseScrollDown], ModuleTree)
        await settled(pilot)
        top = tree(app).scroll_offset.y
        assert top > 0
        app.session_changed()
        await settled(pilot)
        assert tree(app).scroll_offset.y == top


async def test_one_column_turns_through_tree_and_panes(app: FinetuneApp) -> None:
    async with app.run_test(size=(45, 20)) as pilot:
        await open_model(pilot, "demo")
        shown = []
        for _ in range(5):
            await press(pilot, "right_square_bracket")
            panes = (ModuleTree, PresetList, ReportPane)
            shown.append([app.query_one(pane).is_on_screen for pane in panes])
        what, presets, report = [False] * 3, [False, True, False], [False, False, True]
        assert shown == [what, presets, report, [True, False, False], what]
