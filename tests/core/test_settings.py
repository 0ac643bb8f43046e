"""The settings file: what is wrong in it costs one line, and what a person wrote in it stays."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.settings import (
    SETTINGS,
    Settings,
    change_setting,
    read_settings,
    settings_path,
)

WRITTEN = """\
# how I like it
theme: light   # the office is bright

on_end: >-
  curl -d "$FINETUNE_TUI_WORDS"
  https://ntfy.example/me
# keys of my hands
keys:
  layers.toggle: x
  # the next one is for the left hand
  app.leave: "2"
# the end
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_no_file_means_the_defaults_and_needs_no_yaml(path: Path) -> None:
    settings = read_settings(path)
    assert settings == Settings(path)
    assert (settings.on_end, settings.bell, settings.theme) == (None, True, "dark")


def test_the_place_is_chosen_by_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_TUI_SETTINGS", str(path))
    assert settings_path() == path
    monkeypatch.delenv("FINETUNE_TUI_SETTINGS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path.parent))
    assert settings_path().name == "settings.yaml"
    assert settings_path().parent.name == "finetune-tui"


def test_a_whole_file_is_read(path: Path) -> None:
    path.write_text(WRITTEN)
    settings = read_settings(path)
    assert settings.problems == ()
    assert settings.theme == "light"
    assert settings.on_end == 'curl -d "$FINETUNE_TUI_WORDS" https://ntfy.example/me'
    assert settings.keys == {"layers.toggle": "x", "app.leave": "2"}


def test_what_is_wrong_is_said_and_the_rest_holds(path: Path) -> None:
    path.write_text("them: light\nbell: perhaps\ntheme: dork\nnotify: no\non_end: [a]\n")
    settings = read_settings(path)
    assert settings.notify is False
    assert (settings.bell, settings.theme, settings.on_end) == (True, "dark", None)
    first, second, third, fourth = settings.problems
    assert first == f"{path}:1: 'them' is no setting; did you mean 'theme'?"
    assert second == f"{path}:2: yes or no is wanted, not 'perhaps'"
    assert third == f"{path}:3: 'dork' is no theme; did you mean 'dark'?"
    assert fourth.startswith(f"{path}:5: a text is wanted")


@pytest.mark.parametrize(
    "content",
    [b"a: b: c\n", b"[1, 2]\n", b"\xff\xfe", b"- a\n", pytest.param(b"{" * 5000, id="braces")],
)
def test_a_file_that_is_no_settings_is_one_problem_and_is_left_alone(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    settings = read_settings(path)
    assert len(settings.problems) == 1
    assert str(path) in settings.problems[0]
    assert settings == Settings(path, problems=settings.problems)
    with pytest.raises(UserError):
        change_setting("theme", "light", path)
    assert path.read_bytes() == content


def test_a_pipe_with_that_name_does_not_block(path: Path) -> None:
    os.mkfifo(path)
    assert "not a plain file" in read_settings(path).problems[0]


def test_only_the_lines_of_a_changed_key_change(path: Path) -> None:
    path.write_text(WRITTEN)
    change_setting("theme", "ansi", path)
    change_setting("bell", False, path)
    settings = change_setting("on_end", "echo 'a: b' # c", path)
    assert (
        path.read_text()
        == WRITTEN.replace("light ", "ansi ").replace(
            'on_end: >-\n  curl -d "$FINETUNE_TUI_WORDS"\n  https://ntfy.example/me\n',
            "on_end: 'echo ''a: b'' # c'\n",
        )
        + "bell: false\n"
    )
    assert settings == read_settings(path)
    assert (settings.on_end, settings.theme, settings.bell) == ("echo 'a: b' # c", "ansi", False)


def test_a_key_is_taken_out_with_its_lines_alone(path: Path) -> None:
    path.write_text(WRITTEN)
    for key in ("on_end", "keys", "theme", "pager"):
        change_setting(key, None, path)
    assert path.read_text() == "# how I like it\n\n# keys of my hands\n# the end\n"
    assert read_settings(path) == Settings(path)


def test_keys_are_set_as_a_whole(path: Path) -> None:
    path.write_text("keys: {a: b}\ntheme: light")
    assert change_setting("keys", {"layers.toggle": "x", "b": "1"}, path).keys == {
        "layers.toggle": "x",
        "b": "1",
    }
    assert read_settings(path).theme == "light"


def test_what_cannot_be_set_is_refused_in_words(path: Path) -> None:
    with pytest.raises(UserError, match="'them' is no setting; did you mean 'theme'"):
        change_setting("them", "light", path)
    with pytest.raises(UserError, match="yes or no is wanted"):
        change_setting("bell", "loud", path)
    with pytest.raises(UserError, match="a text is wanted"):
        change_setting("on_end", "  ", path)
    assert not path.exists()
    path.write_text("{theme: light}\n")
    with pytest.raises(UserError, match="to be changed by hand"):
        change_setting("bell", False, path)
    path.write_text("bell: no\nbell: yes\n")
    with pytest.raises(UserError, match="'bell' is written twice"):
        change_setting("bell", False, path)
    path.unlink()
    path.symlink_to(path.parent / "gone" / "settings.yaml")
    with pytest.raises(WorkFailed, match="cannot be written"):
        change_setting("bell", False, path)


def test_a_linked_file_stays_a_link(path: Path) -> None:
    real = path.parent / "dotfiles.yaml"
    real.write_text("theme: light\n")
    path.symlink_to(real)
    change_setting("bell", False, path)
    assert path.is_symlink()
    assert real.read_text() == "theme: light\nbell: false\n"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_are_too_much(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    path.write_bytes(content)
    settings = read_settings(path)
    assert all("\x1b" not in problem and "\n" not in problem for problem in settings.problems)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SETTINGS),
            st.none() | st.booleans() | st.text(max_size=30) | st.sampled_from(["light", "ansi"]),
        ),
        max_size=8,
    )
)
def test_what_was_set_is_read_and_nothing_else_changes(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str | bool | None]]
) -> None:
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    path.write_text("# first\nunknown: [1,\n 2]\n# last")
    for key, value in changes:
        before = read_settings(path)
        try:
            after = change_setting(key, value, path)
        except UserError:
            after = before
        assert after == read_settings(path)
        for other in set(SETTINGS) - {key}:
            assert getattr(after, other) == getattr(before, other)
    text = path.read_text()
    assert text.startswith("# first\nunknown: [1,\n 2]\n# last")
