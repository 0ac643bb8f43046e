"""Copying: to the terminal's clipboard as far as it goes, and always to a file."""

import base64
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.copying import clipboard_sequence
from finetune_tui.tui.widgets.status import Footline
from tests.tui.conftest import open_model, press
from tests.tui.pty_terminal import app_in_a_terminal


def copied(seen: bytes) -> str:
    found = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)\x07", seen)
    return base64.b64decode(found[-1]).decode() if found else ""


def test_osc_52_for_what_stands_between() -> None:
    plain = clipboard_sequence("phi-2", {})
    assert copied(plain.encode()) == "phi-2"
    in_tmux = clipboard_sequence("phi-2", {"TMUX": "/tmp/tmux,1,0"})
    assert in_tmux.startswith(plain)
    assert "\x1bPtmux;\x1b\x1b]52;c;" in in_tmux
    in_screen = clipboard_sequence("phi-2" * 1000, {"STY": "1.a"})
    joined = in_screen.replace("\x1b\\\x1bP", "").removeprefix("\x1bP").removesuffix("\x1b\\")
    assert copied(joined.encode()) == "phi-2" * 1000
    assert clipboard_sequence("x" * 60_000, {}) == ""


async def test_what_is_copied_is_in_a_file_and_said(app: FinetuneApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await open_model(pilot, "phi-2")
        await press(pilot, "j", "y")
        file = app.services.home / "copied.txt"
        assert file.read_text().strip()
        assert str(file) in app.screen.query_one(Footline).words.replace("\n ", "")
        assert app.clipboard == file.read_text().rstrip("\n")


async def test_a_report_copied_over_the_screen_says_so_there(app: FinetuneApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await press(pilot, "j", "r", "y")
        said = " ".join(app.screen.query_one(Footline).words.split())  # a long path wraps it
        assert "the report as Markdown" in said
        assert (app.services.home / "copied.txt").read_text().startswith("#")


async def test_no_clipboard_and_no_disk_is_said(app: FinetuneApp) -> None:
    app.services.home.parent.joinpath("home").write_text("a file where the home should be")
    async with app.run_test(size=(120, 36)) as pilot:
        await press(pilot, "j", "y")
        assert "not copied" in app.screen.query_one(Footline).words


def test_the_terminal_gets_it(tmp_path: Path) -> None:
    with app_in_a_terminal(tmp_path) as terminal:
        terminal.wait_for(b"keys")
        terminal.type(b"y")
        terminal.wait_for(b"copied")
        assert copied(terminal.seen) == "demo"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_tmux_as_it_comes_keeps_it_in_its_buffer(tmp_path: Path) -> None:
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    python = f"{sys.executable} -m finetune_tui.tui.cli --home {tmp_path}"
    subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", python], check=True)
    try:

        def until(words: str, *command: str) -> None:
            for _ in range(400):
                answer = subprocess.run([*tmux, *command], capture_output=True, text=True)
                if words in answer.stdout:
                    return
                time.sleep(0.1)
            raise AssertionError(f"no {words!r} in {answer.stdout!r}")

        until("? keys", "capture-pane", "-p")
        subprocess.run([*tmux, "send-keys", "y"], check=True)
        until("demo", "show-buffer")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
