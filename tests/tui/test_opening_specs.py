"""Specs opened in the app: its own, and other tools' with what became of their keys."""

from pathlib import Path

import pytest
from textual.widgets import Input

from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.reading import ReadingScreen
from finetune_tui.tui.widgets.report_pane import ReportPane
from tests.tui.conftest import press, settled

FILES = Path(__file__).parents[1] / "core" / "tuning" / "importing" / "files"


async def test_another_tool_s_file_is_opened_and_its_keys_are_told(app: FinetuneApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "O")
        app.query_one(Input).value = str(FILES / "llama-factory-qwen-freeze.yaml")
        await press(pilot, "enter")
        assert isinstance(app.screen, ReadingScreen)
        page = app.screen.query_one(ReportPane).text
        assert "adapter_name_or_path" in page
        assert "line 16" in page
        await press(pilot, "escape")
        assert app.place_name == "train"
        session = app.session
        assert session.spec.model_name_or_path == "Qwen/Qwen2.5-7B"
        assert session.spec.learning_rate == 5e-6
        assert session.selection.mode("lm_head") is Mode.FULL
        assert len(session.selection.choices) == 17


async def test_a_spec_of_its_own_opens_from_the_data_prompt_too(
    app: FinetuneApp, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        write_spec(Spec().changed(model_name_or_path="microsoft/phi-2", preset="personas"))
    )
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "o")
        app.query_one(Input).value = str(path)
        await press(pilot, "enter")
        assert not isinstance(app.screen, ReadingScreen)
        assert app.place_name == "train"
        assert app.session.spec.preset == "personas"


@pytest.mark.parametrize("text", ["rl: dpo\nbase_model: a/b\nadapter: lora\n", "nothing: 1\n"])
async def test_what_cannot_be_opened_is_a_line_and_can_be_mended(
    app: FinetuneApp, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    async with app.run_test(size=(80, 24)) as pilot:
        app.opening.spec(str(path))
        await settled(pilot)
        assert app.session.manifest is None
        assert app.opening.unread_spec == str(path)
