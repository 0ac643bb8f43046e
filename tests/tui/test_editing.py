"""The spec in an editor."""

import sys
from pathlib import Path

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.tui.editing import edit_spec


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that replaces `weight_decay` by what the file beside it says."""
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "spec = pathlib.Path(sys.argv[1])\n"
        "spec.write_text(spec.read_text() + pathlib.Path(sys.argv[0]).with_name('add').read_text())\n"
    )
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} '{script}'")
    return tmp_path / "add"


def test_what_was_written_comes_back(editor: Path) -> None:
    editor.write_text("weight_decay: 0.5\n")
    assert edit_spec(demo_spec()) == demo_spec().changed(weight_decay=0.5)


def test_a_wrong_key_is_told(editor: Path) -> None:
    editor.write_text("weight_decai: 4\n")
    with pytest.raises(UserError, match="weight_decai"):
        edit_spec(demo_spec())


@pytest.mark.parametrize("command", ["false", "/no/such/editor"])
def test_an_editor_that_fails(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("VISUAL", command)
    with pytest.raises(UserError, match="editor did not work"):
        edit_spec(demo_spec())
