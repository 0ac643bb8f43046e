"""The spec in an editor."""

import sys
from pathlib import Path

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.tui.editing import edit_spec
from tests.tui.pty_terminal import app_in_a_terminal


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


def test_what_was_written_comes_back(editor: Path, tmp_path: Path) -> None:
    editor.write_text("weight_decay: 0.5\n")
    assert edit_spec(demo_spec(), tmp_path) == demo_spec().changed(weight_decay=0.5)
    assert not (tmp_path / "edited-spec.yaml").exists()


def test_a_text_that_is_no_spec_is_told_with_its_line_and_kept(
    editor: Path, tmp_path: Path
) -> None:
    editor.write_text("# mine\nweight_decai: 4\n")
    with pytest.raises(UserError, match=r"spec:\d+: weight_decai: .*e goes on with it") as told:
        edit_spec(demo_spec(), tmp_path)
    kept = (tmp_path / "edited-spec.yaml").read_text()
    line = int(str(told.value).split(":")[1])
    assert kept.splitlines()[line - 1] == "weight_decai: 4"
    editor.write_text(
        "weight_decay: 0.5\n"
    )  # the next editor gets the kept text, which is still wrong
    with pytest.raises(UserError, match="weight_decai"):
        edit_spec(demo_spec(), tmp_path)
    (tmp_path / "edited-spec.yaml").write_text(kept.replace("decai", "decay"))
    editor.write_text("seed: 4\n")
    assert edit_spec(demo_spec(), tmp_path) == demo_spec().changed(weight_decay=4, seed=4)


@pytest.mark.parametrize("text", ["{", "a: [1, ", "\tx"])
def test_what_is_not_yaml_names_its_line(editor: Path, tmp_path: Path, text: str) -> None:
    editor.write_text(text)
    with pytest.raises(UserError, match=r"spec:\d+: not YAML"):
        edit_spec(demo_spec(), tmp_path)


def test_an_emptied_text_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", f"{sys.executable} -c 'import sys; open(sys.argv[1], \"w\")'")
    assert edit_spec(demo_spec(), tmp_path) is None
    assert not (tmp_path / "edited-spec.yaml").exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("false", "ended with 1"),
        ("/no/such/editor", "No such file"),
        ("vi 'unclosed", "No closing quotation"),
        ("/tmp", "Permission denied"),
        ("   ", "did not work"),
    ],
)
def test_an_editor_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, why: str
) -> None:
    monkeypatch.setenv("VISUAL", command)
    with pytest.raises(UserError, match=rf"the editor did not work.*{why}|{why}"):
        edit_spec(demo_spec(), tmp_path)
    assert not (tmp_path / "edited-spec.yaml").exists()


def test_a_home_that_cannot_be_written_is_told(editor: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(UserError, match="cannot be edited"):
        edit_spec(demo_spec(), tmp_path / "home")


def test_the_app_takes_it_and_undo_takes_it_back(editor: Path, tmp_path: Path) -> None:
    editor.write_text("weight_decay: 0.5\n")
    with app_in_a_terminal(tmp_path / "home") as terminal:
        terminal.wait_for(b"keys")
        terminal.type(b"d")
        terminal.wait_for(b"[2Layers]")
        terminal.type(b"e")
        back = terminal.wait_for(b"\x1b[?1049h")  # the screen is the app's again
        if b"keys" not in back.rpartition(b"\x1b[?1049h")[2]:
            terminal.wait_for(b"keys")
        terminal.type(b"4")
        terminal.wait_for(b"[4Train]")
        editor.write_text("weight_decai: 4\n")
        terminal.type(b"e")
        terminal.wait_for(b"weight_decai")
        terminal.type(b"q")
        assert terminal.exit_code() == 0
    assert (tmp_path / "home" / "edited-spec.yaml").exists()
