"""The command `estimate`: verdicts in words, what would fit, the simulation, and its JSON."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from finetune_tui.core import demo
from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import Breakdown, Estimate
from finetune_tui.tui.cli import main
from finetune_tui.tui.commands import estimate as command
from finetune_tui.tui.commands.estimate import verdict_words

GIB = 2**30
LLAMA = ("llama-3.1-8b", "--preset", "structured-output")


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_TUI_HOME", str(tmp_path / "home"))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[Gpu]:
    """The GPUs of this machine, to be filled."""
    found: list[Gpu] = []
    monkeypatch.setattr(
        command,
        "read_hardware",
        lambda _: Hardware(time=0, gpus=tuple(found), memory_available=20 * GIB),
    )
    return found


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["estimate", *words, "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    found: dict[str, Any] = json.loads(shown)
    return found


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["estimate", *words]) == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["estimate", *words]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_no_key_is_ever_missing(capsys: pytest.CaptureFixture[str], gpus: list[Gpu]) -> None:
    keys = {
        *("model", "preset", "trainable_parameters", "settings", "precision", "precisions", "gpu"),
        *("budget", "longest_row", "fitting", "simulation"),
    }
    found = answer(capsys, *LLAMA)
    assert set(found) == keys
    assert found["budget"] == {"name": None, "bytes": None}
    assert [found[key] for key in ("gpu", "fitting", "simulation", "longest_row")] == [None] * 4
    for made in found["precisions"].values():
        assert {"allocated", "reserved", "device", "breakdown", "fits", "peak_phase"} <= set(made)
        assert (made["fits"], made["verdict"]) == (None, None)
        assert made["band"] > 0
    gpus.append(Gpu(0, "GPU-1", "Card", total=24 * GIB, free=23 * GIB))
    found = answer(capsys, *LLAMA, "--fit")
    assert set(found) == keys
    assert found["gpu"]["uuid"] == "GPU-1"
    assert found["budget"] == {"name": "Card", "bytes": 23 * GIB}
    assert {made["verdict"] for made in found["precisions"].values()} <= {"fits", "may fit", "NO"}
    fitted = found["fitting"]
    assert set(fitted) == {"budget", "fits", "nearest", "missing", "card"}
    assert set(fitted["fits"][0]) == {
        *("changes", "words", "precision", "device", "band", "room", "gains", "costs"),
    }
    assert fitted["fits"][0]["changes"] == {"gradient_checkpointing": True}


def test_the_free_memory_of_the_gpu_that_is_named_counts(
    capsys: pytest.CaptureFixture[str], gpus: list[Gpu]
) -> None:
    gpus += [
        Gpu(0, "GPU-1", "Full", total=80 * GIB, free=2 * GIB),
        Gpu(1, "GPU-2", "Empty", total=80 * GIB, free=79 * GIB),
    ]
    assert "Full: 2.0 GiB free.\nAs set, bf16: does not fit" in shown(capsys, *LLAMA)
    assert "Empty: 79.0 GiB free.\nAs set, bf16: fits with" in shown(
        capsys, *LLAMA, "--set", "gpus=GPU-2"
    )
    gpus[:] = [Gpu(0, "GPU-3", "Silent")]
    assert "Unknown how much of Silent is free" in shown(capsys, *LLAMA)


def test_a_card_that_is_named_counts_instead(
    capsys: pytest.CaptureFixture[str], gpus: list[Gpu]
) -> None:
    gpus.append(Gpu(0, "GPU-1", "Small", total=2 * GIB, free=GIB))
    found = answer(capsys, *LLAMA, "--gpu", "80gb")
    assert found["budget"] == {"name": "A card of 80 GB", "bytes": CARDS["80 GB"]}
    assert found["precisions"]["bf16"]["verdict"] == "fits"


def test_the_demo_trains_in_main_memory_unless_a_card_is_named(
    capsys: pytest.CaptureFixture[str], gpus: list[Gpu]
) -> None:
    found = answer(capsys, "demo", "--fit")
    assert found["budget"] == {"name": "This machine's memory", "bytes": 20 * GIB}
    assert found["precision"] == "fp32"
    found = answer(capsys, "demo", "--gpu", "8")
    assert found["precision"] == "bf16"
    assert found["settings"]["use_cpu"] is False


def test_what_fits_can_be_typed_as_it_stands(
    capsys: pytest.CaptureFixture[str], gpus: list[Gpu]
) -> None:
    text = shown(capsys, *LLAMA, "--gpu", "16", "--fit")
    assert "What fits, best first:\n1  8bit, checkpointing on, 2 × 8" in text
    offers = re.findall(r"^   --set (.*)$", text, re.MULTILINE)
    assert offers
    for offer in offers:
        again = shown(capsys, *LLAMA, "--gpu", "16", "--set", *offer.split())
        assert re.search(r"As set, .*: fits with", again)


def test_when_nothing_fits_the_nearest_is_said(
    capsys: pytest.CaptureFixture[str], gpus: list[Gpu]
) -> None:
    text = shown(capsys, "qwen3-30b-a3b", "--preset", "structured-output", "--gpu", "12", "--fit")
    assert "Nothing fits for certain. Nearest:" in text
    assert re.search(r"It needs \d+\.\d GiB more to be sure of it; a card of 80 GB would do", text)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gpu", "25"], "no card has 25 GB; the nearest has 24 GB"),
        (["--gpu", "\x1b[31mx"], "is not the size of a card"),
        (["--fit"], "--fit: no GPU here to fit into; name a card as well: --gpu 24"),
        (["--gpu", "24", "--set", "use_cpu=true"], "both --gpu and use_cpu"),
        (["--simulate"], "modules: nothing is selected to train"),
        (["--preset", "full", "--set", "load_in_4bit=true"], "cannot be full"),
        (["--data", "/none.jsonl", "--preset", "personas"], "/none.jsonl"),
    ],
)
def test_a_wrong_request_is_one_line(
    capsys: pytest.CaptureFixture[str], gpus: list[Gpu], words: list[str], says: str
) -> None:
    line = refusal(capsys, "demo" if "--data" in words else "phi-2", *words)
    assert says in line
    assert "\x1b" not in line


def test_the_verdict_in_words() -> None:
    made = Estimate(
        allocated=0,
        reserved=0,
        device=10 * GIB,
        breakdown=Breakdown(0, 0, 0, 0, 0, 0, 0, 10 * GIB),
        peak_phase="loss",
        band=GIB,
    )
    assert verdict_words(made, 13 * GIB) == "fits with 3.0 GiB to spare"
    assert verdict_words(made, 7 * GIB) == "does not fit: 3.0 GiB too much"
    for free in (9.5, 10, 10.5):
        says = "may fit: within the uncertainty of 1.0 GiB"
        assert verdict_words(made, int(free * GIB)) == says


def test_simulated_with_the_longest_row_of_the_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(
        capsys,
        *("demo", "--preset", "personas", "--gpu", "8", "--simulate"),
        *("--data", str(demo.HELDOUT_FILE), "--set", "max_length=200"),
    )
    assert re.search(r"^batches    of the longest row, \d+ tokens$", text, re.MULTILINE)
    for line in (
        r"allocated  \d+ MiB; the estimate says \d+ MiB",
        r"reserved   \d+ MiB; the estimate says \d+ MiB",
        r"device     \d+ MiB; fits with \d\.\d GiB to spare",
        r"peak       (forward|loss|backward|optimizer).* \(\w+\)",
        r"phases     loading \S+, forward \S+, loss .*optimizer \S+",
        r"card       8 GB is the smallest that would do",
        r"largest    [\d,]+ rows at once or more, or rows of [\d,]+ tokens",
    ):
        assert re.search(f"^{line}$", text, re.MULTILINE), line
    assert "\x1b" not in text


def test_ctrl_c_ends_a_simulation_and_its_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "finetune_tui.tui.cli", "estimate", *LLAMA, "--simulate"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    children: list[psutil.Process] = []
    while not children and time.monotonic() < deadline:
        children = psutil.Process(process.pid).children()
        time.sleep(0.05)
    assert children
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, error) == ("", "")
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() for child in children)
