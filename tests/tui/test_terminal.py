"""What the terminal sends and is told, in a real pseudo-terminal where that matters."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.tui.terminal import MouseTolerantDecoder, through
from tests.tui.pty_terminal import app_in_a_terminal

FAR = b"\x1b[M" + bytes((32, 32 + 150, 32 + 5))  # a button pressed at column 150


def decoded(*pieces: bytes) -> str:
    decoder = MouseTolerantDecoder()
    return "".join(decoder.decode(piece) for piece in pieces) + decoder.decode(b"", True)


def test_an_x10_report_becomes_the_report_that_was_asked_for() -> None:
    assert decoded(FAR) == "\x1b[<0;150;5M"
    assert decoded(b"j", FAR[:3], FAR[3:5], FAR[5:] + b"k") == "j\x1b[<0;150;5Mk"
    assert decoded(b"\x1b[M" + bytes((35, 33, 33))) == "\x1b[<0;1;1m"  # the button let go
    assert decoded(b"\x1b[M" + bytes((96, 34, 35))) == "\x1b[<64;2;3M"  # the wheel


@given(st.text(), st.integers(0, 300))
def test_text_arrives_as_it_was_typed_wherever_it_is_cut(text: str, at: int) -> None:
    data = text.replace("\x1b", "").encode("utf-8", "ignore")
    assert decoded(data[:at], data[at:]) == data.decode()


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_no_bytes_end_the_reading(pieces: list[bytes]) -> None:
    assert isinstance(decoded(*pieces), str)


def test_escape_alone_does_not_wait_for_more() -> None:
    assert MouseTolerantDecoder().decode(b"\x1b") == "\x1b"


def test_multiplexers_hand_on_what_is_wrapped_for_them() -> None:
    assert through("\x1b]9;a\x07", {}) == "\x1b]9;a\x07"
    assert through("\x1b]9;a\x07", {"TMUX": "x"}) == "\x1bPtmux;\x1b\x1b]9;a\x07\x1b\\"
    wrapped = through("\x1b]52;c;" + "A" * 2000 + "\x07", {"STY": "x"})
    pieces = re.findall("\x1bP(.*?)\x1b\\\\", wrapped, re.DOTALL)
    assert "".join(pieces) == "\x1b]52;c;" + "A" * 2000 + "\x07"
    assert max(map(len, pieces)) <= 512


def test_the_app_lives_through_x10_mouse_reports(tmp_path: Path) -> None:
    """They end Textual's input thread, and the app with it (textual#6668)."""
    with app_in_a_terminal(tmp_path, (200, 50)) as terminal:
        terminal.wait_for(b"keys")
        terminal.type(FAR + b"\x1b[M \xff\xff" + b"\xff\xfe")
        terminal.type(b"\x1b[115:83;2u")  # kitty's long form of a key, which nobody asked for
        time.sleep(0.5)  # apart from what follows, as keys are
        terminal.type(b"3")
        terminal.wait_for(b"[3Data]")
        terminal.type(b"q")
        assert terminal.exit_code() == 0


@pytest.mark.parametrize("switched_off", [False, True])
def test_the_title_is_given_back(tmp_path: Path, switched_off: bool) -> None:
    if switched_off:
        (tmp_path / "settings.yaml").write_text("title: no\n")
    with app_in_a_terminal(tmp_path) as terminal:
        terminal.wait_for(b"keys")
        if not switched_off:
            while b"\x1b]2;finetune-tui\x07" not in terminal.seen:
                terminal.wait_for(b"\x1b]2;")
        terminal.type(b"q")
        assert terminal.exit_code() == 0
    assert (b"\x1b[22;2t" in terminal.seen) is not switched_off
    assert terminal.seen.rstrip().endswith(b"\x1b[23;2t") is not switched_off
