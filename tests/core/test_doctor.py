"""Machines as people rent them, each with one thing wrong, and the command that mends it."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_tui.core.doctor import Finding, examine, judge, wheel_index
from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.hardware import Gpu, Hardware
from finetune_tui.core.machine import (
    Machine,
    Terminal,
    Torch,
    ask_torch,
    find_hub_login,
    has_nvidia_device,
    pip_command,
    read_machine,
    read_requirements,
    read_terminal,
    why_not_writable,
)
from finetune_tui.core.models import hub_account
from finetune_tui.core.models.hub_account import Account

GIB = 2**30
WHEELS = "https://download.pytorch.org/whl/"
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")


def gpu(**changes: Any) -> Gpu:
    facts: dict[str, Any] = {
        "index": 0,
        "uuid": "GPU-1",
        "name": "NVIDIA GeForce RTX 4090",
        "total": 24 * GIB,
        "used": 0,
        "free": 24 * GIB,
        "utilization": 0,
        "temperature": 40,
        "power": 30.0,
        "power_limit": 450.0,
        "driver": "580.10",
        "compute_capability": "8.9",
        "mig": False,
        "processes": (),
        "error": None,
    }
    return Gpu(**facts | changes)


HARDWARE = Hardware(
    time=0.0,
    gpus=(gpu(),),
    gpu_error=None,
    driver="580.10",
    cpus=8,
    cpu_percent=1.0,
    memory_total=64 * GIB,
    memory_used=4 * GIB,
    memory_available=60 * GIB,
    disk_path="/data",
    disk_total=500 * GIB,
    disk_free=300 * GIB,
)
NO_GPU = replace(HARDWARE, gpus=(), gpu_error="no NVIDIA driver", driver=None)
TERMINAL = Terminal(True, "xterm-256color", False, 120, 36, "tmux", True)
GOOD = Machine(
    python="3.12.4",
    pip="python -m pip",
    hardware=HARDWARE,
    cuda_driver=(13, 0),
    nvidia_device=True,
    visible_devices=None,
    torch=Torch("2.13.0+cu130", "13.0", None, True, ARCHITECTURES),
    versions={
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "peft": "0.21.2",
        "accelerate": "1.15.0",
        "bitsandbytes": "0.50.2",
    },
    requirements={"transformers": ("5.20", "6"), "peft": ("0.19", "1")},
    home=Path("/data/finetune-tui"),
    home_error=None,
    on_container_disk=False,
    lasting=(),
    ends_at_logout=None,
    terminal=TERMINAL,
    hub_login="$HF_TOKEN",
)


def finding(name: str, **changes: Any) -> Finding:
    return next(found for found in judge(replace(GOOD, **changes)) if found.name == name)


def test_what_runs_measured_of_cuda_is_told() -> None:
    assert "CUDA" not in finding("GPU").words
    measured = finding("GPU", cuda_contexts=(420 * 2**20,))
    assert measured.ok
    assert "24.0G, of which CUDA took 420M when runs measured it" in measured.words
    assert "CUDA" not in finding("GPU", cuda_contexts=(None,)).words


def test_a_good_machine_has_nothing_to_mend() -> None:
    findings = judge(GOOD)
    assert [found for found in findings if found.ok is not True or found.fix] == []
    assert len({found.name for found in findings}) == len(findings)
    assert json.loads(json.dumps([found.to_json() for found in findings]))[0] == {
        "name": "Python",
        "ok": True,
        "words": "3.12.4",
        "fix": None,
    }


# torch against the driver


def test_a_driver_too_old_for_the_build_names_both_and_the_wheel() -> None:
    torch = Torch("2.13.0+cu130", "13.0", None, False, ARCHITECTURES, "driver too old")
    found = finding("PyTorch", torch=torch, cuda_driver=(12, 4))
    assert found.ok is False
    assert "built for CUDA 13.0, the driver takes 12.4 at most" in found.words
    assert found.fix == (
        f"python -m pip uninstall -y torch && python -m pip install torch --index-url {WHEELS}cu126"
    )


def test_a_newer_minor_version_runs_on_an_older_driver() -> None:
    torch = Torch("2.9.0+cu128", "12.8", None, True, ARCHITECTURES)
    assert finding("PyTorch", torch=torch, cuda_driver=(12, 4)).ok


def test_a_compatibility_package_that_works_is_left_alone() -> None:
    assert finding("PyTorch", cuda_driver=(12, 4)).ok


def test_torch_for_the_cpu_beside_a_gpu_is_replaced_with_its_companions() -> None:
    versions = {**GOOD.versions, "torchvision": "0.28.0"}
    found = finding("PyTorch", torch=Torch("2.13.0+cpu"), versions=versions)
    assert found.ok is False
    assert "built without CUDA" in found.words
    assert found.fix is not None
    assert "uninstall -y torch torchvision &&" in found.fix
    assert found.fix.endswith(f"install torch torchvision --index-url {WHEELS}cu130")


def test_torch_for_the_cpu_without_a_gpu_is_fine() -> None:
    facts: dict[str, Any] = {"torch": Torch("2.13.0+cpu"), "hardware": NO_GPU}
    facts |= {"nvidia_device": False, "cuda_driver": None}
    assert finding("PyTorch", **facts).ok
    found = finding("GPU", **facts)
    assert found.ok is None
    assert "no NVIDIA driver" in found.words


def test_no_torch_installs_the_one_for_this_machine() -> None:
    missing: dict[str, Any] = {"torch": Torch(error="No module named 'torch'")}
    missing["versions"] = {**GOOD.versions, "torch": None}
    found = finding("PyTorch", **missing)
    assert (found.ok, found.words) == (False, "not installed")
    assert found.fix == f"python -m pip install torch --index-url {WHEELS}cu130"
    fix = finding("PyTorch", **missing, hardware=NO_GPU).fix
    assert fix == f"python -m pip install torch --index-url {WHEELS}cpu"


def test_a_torch_that_does_not_import_says_why_on_one_line() -> None:
    found = finding("PyTorch", torch=Torch(error="OSError: libcudart.so\n\x1b[31mmissing"))
    assert found.ok is False
    assert "2.13.0 is installed, but OSError: libcudart.so⏎missing" in found.words


def test_a_gpu_the_build_holds_no_code_for() -> None:
    build = Torch("2.9.0+cu126", "12.6", None, True, ("sm_50", "sm_80", "sm_86", "sm_90"))
    new = replace(HARDWARE, gpus=(gpu(name="RTX 5090", compute_capability="12.0"),))
    found = finding("PyTorch", torch=build, hardware=new, cuda_driver=(12, 8))
    assert found.ok is False
    assert "holds no code for RTX 5090 (12.0)" in found.words
    assert found.fix
    assert found.fix.endswith("cu128")
    old = replace(HARDWARE, gpus=(gpu(name="P100", compute_capability="6.0"),))
    found = finding("PyTorch", hardware=old)
    assert found.fix
    assert found.fix.endswith("cu126")


@pytest.mark.parametrize("capability", ["8.0", "8.9", "9.0", "12.1", "13.0", None])
def test_chips_a_build_does_hold_code_for(capability: str | None) -> None:
    hardware = replace(HARDWARE, gpus=(gpu(compute_capability=capability),))
    assert finding("PyTorch", hardware=hardware).ok


def test_hidden_gpus_and_gpus_that_do_not_start() -> None:
    blind = replace(GOOD.torch, available=False, error="CUDA unknown error")
    found = finding("PyTorch", torch=blind, visible_devices="")
    assert (found.ok, found.fix) == (False, "unset CUDA_VISIBLE_DEVICES")
    found = finding("PyTorch", torch=blind)
    assert "CUDA unknown error" in found.words
    assert found.fix


def test_a_gpu_without_a_working_driver() -> None:
    found = finding("GPU", hardware=replace(NO_GPU, gpu_error="Driver/library version mismatch"))
    assert found.ok is False
    assert "version mismatch" in found.words
    assert found.fix
    broken = replace(HARDWARE, gpus=(gpu(name=None, total=None, error="GPU is lost"),))
    found = finding("GPU", hardware=broken)
    assert found.ok is False
    assert "GPU is lost" in found.words


@pytest.mark.parametrize(
    ("driver", "capabilities", "index"),
    [
        ((13, 2), [(8, 9)], "cu130"),
        ((13, 0), [(12, 0)], "cu130"),
        ((13, 0), [(7, 0)], "cu126"),
        ((12, 9), [(12, 0)], "cu128"),
        ((12, 9), [(9, 0)], "cu126"),
        ((12, 2), [], "cu126"),
        ((12, 4), [(12, 0)], None),
        ((11, 8), [(8, 0)], "cu118"),
        ((10, 2), [(7, 5)], None),
        ((13, 0), [(6, 1), (12, 0)], None),
    ],
)
def test_the_wheel_index_fits_driver_and_chips(
    driver: tuple[int, int], capabilities: list[tuple[int, ...]], index: str | None
) -> None:
    assert wheel_index(driver, capabilities) == index


def test_drivers_at_the_end_of_their_life() -> None:
    torch = replace(GOOD.torch, available=False)
    fix = finding("PyTorch", torch=torch, cuda_driver=(11, 4)).fix
    assert fix is not None
    assert fix.endswith(f"install torch==2.7.1 --index-url {WHEELS}cu118")
    fix = finding("PyTorch", torch=torch, cuda_driver=(10, 1)).fix
    assert fix is not None
    assert fix.startswith("update the NVIDIA driver")


# Everything else


@pytest.mark.parametrize(
    ("version", "words"), [(None, "not installed"), ("4.57.1", "older"), ("6.0.0", "newer")]
)
def test_a_package_out_of_range_gets_its_pip_line(version: str | None, words: str) -> None:
    found = finding("transformers", versions={**GOOD.versions, "transformers": version})
    assert found.ok is False
    assert words in found.words
    assert found.fix == "python -m pip install 'transformers>=5.20,<6'"


def test_bitsandbytes_can_be_missed() -> None:
    found = finding("bitsandbytes", versions={**GOOD.versions, "bitsandbytes": None})
    assert found.ok is None
    assert "4-bit" in found.words


def test_where_runs_are_written() -> None:
    found = finding("home", home_error="/data: Read-only file system")
    assert found.ok is False
    assert "Read-only" in found.words
    found = finding("home", on_container_disk=True, lasting=(Path("/my work"),))
    assert found.ok is None
    assert found.fix == "export FINETUNE_TUI_HOME='/my work/finetune-tui'"
    assert finding("home", on_container_disk=True).fix


def test_little_disk_little_memory_and_neither_known() -> None:
    small = replace(HARDWARE, disk_free=GIB, memory_available=GIB)
    assert finding("disk", hardware=small).ok is False
    assert finding("memory", hardware=small).ok is False
    unknown = replace(HARDWARE, disk_free=None, disk_total=None, memory_available=None)
    assert finding("disk", hardware=unknown).ok is None
    assert finding("memory", hardware=unknown).ok is None


def test_a_login_that_takes_the_runs_with_it() -> None:
    found = finding("logout", ends_at_logout="runs end when you log out")
    assert (found.ok, found.fix) == (False, "loginctl enable-linger")


@pytest.mark.parametrize(
    ("changes", "ok", "fix"),
    [
        ({"is_one": False}, None, None),
        ({"term": "dumb"}, False, "export TERM=xterm-256color"),
        ({"term": ""}, False, "export TERM=xterm-256color"),
        ({"utf8": False}, False, "export LC_ALL=C.UTF-8"),
        ({"columns": 45, "lines": 20}, None, "80×24 or more shows everything"),
        ({"term": "screen"}, None, "export TERM=screen-256color"),
        ({"term": "xterm-kitty", "truecolor": True}, True, None),
    ],
)
def test_terminals(changes: dict[str, Any], ok: bool | None, fix: str | None) -> None:
    found = finding("terminal", terminal=replace(TERMINAL, **changes))
    assert (found.ok, found.fix) == (ok, fix)


def test_no_hub_login() -> None:
    found = finding("Hub login", hub_login=None)
    assert found.fix == "hf auth login"
    assert "no push" in found.words


def account(role: str, *writes_to: str) -> Account:
    token = {
        "role": role,
        "fineGrained": {
            "scoped": [
                {"entity": {"name": name}, "permissions": ["repo.write"]} for name in writes_to
            ]
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        answer = {"name": "ann", "orgs": [], "auth": {"accessToken": token}}
        patch.setattr(hub_account, "ask", lambda *_: answer)
        return hub_account.who_am_i({"HF_TOKEN": "hf_secret"})


def test_what_a_hub_token_may_do_when_the_hub_was_asked() -> None:
    found = finding("Hub login", hub=account("write"))
    assert (found.ok, found.words) == (True, "ann, token in $HF_TOKEN, may write")
    found = finding("Hub login", hub=account("fineGrained", "workshop"))
    assert (found.ok, found.words) == (True, "ann, token in $HF_TOKEN, writes to workshop")
    for reading in (account("read"), account("fineGrained")):
        found = finding("Hub login", hub=reading)
        assert found.ok is None
        assert "may only read: no push" in found.words
        assert "hf auth login" in (found.fix or "")
    assert finding("Hub login", hub=account("other")).ok


def test_a_hub_that_refuses_the_token_or_does_not_answer() -> None:
    found = finding("Hub login", hub=hub_account.TokenRefused("no"))
    assert (found.ok, found.fix) == (False, "hf auth login")
    found = finding(
        "Hub login", hub=WorkFailed("hub.example cannot be reached (no answer for 10 s)")
    )
    assert found.ok
    assert "hub.example cannot be reached" in found.words


# Reading a machine


def test_torch_answers_from_its_own_process() -> None:
    answer = {"version": "2.9.0", "cuda": None, "rocm": None, "available": False}
    script = f"print('a library says hello'); print({json.dumps(answer)!r})"
    assert ask_torch((sys.executable, "-c", script)) == Torch("2.9.0")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.abort()", "exit code -6"),
        ("print('no json')", "exit code 0"),
        ("print('[]')", "exit code 0"),
        ("print('{\"other\": 1}')", "exit code 0"),
    ],
)
def test_a_torch_that_ends_its_process(script: str, words: str) -> None:
    answer = ask_torch((sys.executable, "-c", script))
    assert answer.version is None
    assert answer.error
    assert words in answer.error


def test_a_torch_that_hangs_and_a_python_that_is_not_there() -> None:
    hanging = ask_torch((sys.executable, "-c", "input_ = __import__('time').sleep(60)"), 0.2)
    assert "took more than" in str(hanging.error)
    assert "could not be started" in str(ask_torch(("/none/python",)).error)


def test_requirements_without_extras() -> None:
    lines = ["torch>=2.6", "peft <1, >=0.19", "bnb>=0.48; sys_platform == 'linux'"]
    lines += ["mypy>=1.18; extra == 'dev'", "pyyaml"]
    assert read_requirements(lines) == {
        "torch": ("2.6", None),
        "peft": ("0.19", "1"),
        "bnb": ("0.48", None),
        "pyyaml": (None, None),
    }


def test_an_nvidia_gpu_on_the_bus_and_another_card(tmp_path: Path) -> None:
    assert not has_nvidia_device(tmp_path)
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "class").write_text("0x020000\n")
    (device / "vendor").write_text("0x10de\n")
    assert not has_nvidia_device(tmp_path)
    (device / "class").write_text("0x030200\n")
    assert has_nvidia_device(tmp_path)


def test_a_hub_token_is_found_and_never_shown(tmp_path: Path) -> None:
    assert find_hub_login({}, tmp_path) is None
    assert find_hub_login({"HF_TOKEN": "hf_secret"}, tmp_path) == "$HF_TOKEN"
    token = tmp_path / ".cache/huggingface/token"
    token.parent.mkdir(parents=True)
    token.touch()
    assert find_hub_login({}, tmp_path) is None
    token.write_text("hf_secret")
    assert find_hub_login({}, tmp_path) == str(token)
    assert find_hub_login({"HF_HOME": str(token.parent)}, Path("/none")) == str(token)
    assert find_hub_login({"HF_TOKEN_PATH": str(token)}, Path("/none")) == str(token)


def test_a_terminal_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    environment = {"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "COLORTERM": "truecolor"}
    expected = Terminal(True, "tmux-256color", True, 100, 30, "tmux", True)
    assert read_terminal(environment, True, "UTF-8") == expected
    assert read_terminal({}, False, "ascii") == Terminal(False, "", False, 100, 30, None, False)


def test_a_home_is_tried_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a/b"
    assert why_not_writable(home) is None
    assert list(tmp_path.iterdir()) == []

    def refused(**options: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    assert why_not_writable(home) == f"{tmp_path}: Read-only file system"


def test_pip_of_this_very_python() -> None:
    assert pip_command("/opt/my env/python", True) == "'/opt/my env/python' -m pip"
    assert pip_command("/opt/python", False).startswith("/opt/python -m ensurepip && ")


def test_this_machine_is_read_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Torch("2.13.0+cpu")
    monkeypatch.setattr("finetune_tui.core.machine.ask_torch", lambda command: asked)
    machine = read_machine(tmp_path)
    assert machine.torch == asked
    assert "transformers" in machine.requirements
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("finetune_tui.core.machine.who_am_i", lambda: pytest.fail("not asked to"))
    assert [found.name for found in examine(tmp_path)] == [found.name for found in judge(GOOD)]
    assert not any("\n" in found.words for found in judge(machine))
