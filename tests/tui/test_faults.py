"""An error that nobody foresaw is one line on the screen, and nothing is lost."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.faults import told
from finetune_tui.tui.services import Services
from tests.tui.conftest import settled

BROKEN_APP = """
from pathlib import Path
import sys
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.services import real_services
class Broken(FinetuneApp):
    def on_mount(self):
        raise KeyError("[bold]lost[/bold]")
Broken(real_services(Path(sys.argv[1]))).run()
"""


async def test_a_fault_in_a_thread_is_said_and_the_app_goes_on(services: Services) -> None:
    def broken(_reference: ModelReference) -> Manifest:
        raise KeyError("\x1b[31mlost")

    app = FinetuneApp(replace(services, load_manifest=broken))
    async with app.run_test(size=(80, 24)) as pilot:
        app.opening.model(find_model("phi-2"))
        await settled(pilot)
        assert app.is_running
        assert app.session.manifest is None
    story = (services.home / "app-errors.txt").read_text()
    assert "KeyError" in story
    assert "Traceback" in story


def test_a_fault_on_the_screen_leaves_one_line_and_a_file(tmp_path: Path) -> None:
    terminal, other = pty.openpty()
    app = subprocess.Popen(
        [sys.executable, "-c", BROKEN_APP, str(tmp_path)],
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(other)
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
        elif app.poll() is not None:
            break
    app.wait(timeout=10)
    os.close(terminal)
    assert b"Traceback" not in seen
    assert b"a fault of the app: KeyError" in seen
    assert "KeyError" in (tmp_path / "app-errors.txt").read_text()


def test_a_terminal_that_is_gone_ends_the_app(tmp_path: Path) -> None:
    """Not its controlling one: no SIGHUP comes, as under make or a script."""
    terminal, other = pty.openpty()
    app = subprocess.Popen(
        [sys.executable, "-m", "finetune_tui.tui.cli", "--home", str(tmp_path)],
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(other)
    seen = b""
    deadline = time.monotonic() + 30
    while b"keys" not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536)
    assert b"keys" in seen
    os.close(terminal)
    try:
        assert app.wait(timeout=20) == 128 + signal.SIGHUP
    finally:
        app.kill()


@pytest.mark.parametrize("error", [ValueError(), ValueError("a\nb"), KeyError("\x1b]0;x\x07")])
def test_any_error_is_told_in_one_line(tmp_path: Path, error: Exception) -> None:
    line = str(told(error, tmp_path))
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_home_that_cannot_be_written_is_no_second_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "app-errors.txt" in str(told(ValueError("x"), tmp_path / "file" / "home"))
