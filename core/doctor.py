"""What this machine can do, what is missing, and the exact command that mends it."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.hardware import Gpu
from finetune_tui.core.machine import COMPANIONS, PACKAGES, Machine, Torch, read_machine
from finetune_tui.core.models.hub_account import Account, TokenRefused
from finetune_tui.core.text import plain, size

LITTLE_DISK = 5 * 2**30
LITTLE_MEMORY = 2 * 2**30
WHEELS = "https://download.pytorch.org/whl/"

_Version = tuple[int, ...]
_OPTIONAL = {"bitsandbytes": "8-bit and 4-bit models cannot be loaded"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ok: True fine, False wrong, None a remark. fix: what to type or do."""

    name: str
    ok: bool | None
    words: str
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "ok": self.ok, "words": self.words, "fix": self.fix}


def examine(home: Path, ask_hub: bool = False) -> list[Finding]:
    """Look at this machine and judge it; takes seconds, as torch is imported in a process.

    ask_hub: also ask the Hub whose token it is and what it may do.
    """
    return judge(read_machine(home, ask_hub))


def judge(machine: Machine) -> list[Finding]:
    """What a machine's facts mean, most important first."""
    return [
        Finding("Python", True, machine.python),
        gpu_finding(machine),
        torch_finding(machine),
        *(package_finding(machine, name) for name in PACKAGES if name != "torch"),
        home_finding(machine),
        disk_finding(machine),
        memory_finding(machine),
        logout_finding(machine),
        terminal_finding(machine),
        hub_finding(machine),
    ]


def gpu_finding(machine: Machine) -> Finding:
    """Whether NVML answers, and with which GPUs."""
    gpus = machine.hardware.gpus
    if gpus:
        driver = f" · driver {machine.hardware.driver}" if machine.hardware.driver else ""
        contexts = machine.cuda_contexts or (None,) * len(gpus)
        names = " · ".join(map(_gpu_words, gpus, contexts))
        broken = any(gpu.error for gpu in gpus)
        return Finding("GPU", not broken, names + driver, "nvidia-smi -q" if broken else None)
    why = machine.hardware.gpu_error or "none found"
    if machine.nvidia_device:
        fix = (
            "in a container, start it with --gpus all; otherwise install or update the NVIDIA"
            " driver and restart: nvidia-smi must work"
        )
        return Finding("GPU", False, f"there is an NVIDIA GPU that does not answer: {why}", fix)
    return Finding("GPU", None, f"{why}; the demo trains on the CPU, real models need a GPU")


def torch_finding(machine: Machine) -> Finding:
    """Whether torch imports, and whether its build fits the driver and the GPUs."""
    torch, driver = machine.torch, machine.cuda_driver
    if torch.version is None:
        installed = machine.versions.get("torch")
        said = plain(torch.error or "", 300)
        words = f"{installed} is installed, but {said}" if installed else "not installed"
        return Finding("PyTorch", False, words, _install_torch(machine))
    if torch.rocm and torch.available:
        return Finding("PyTorch", True, f"{torch.version}, ROCm {torch.rocm}")
    if not machine.hardware.gpus and not torch.available:
        return Finding("PyTorch", True, f"{torch.version}, on the CPU")
    if torch.cuda is None:
        words = f"{torch.version} is built without CUDA, and there is a GPU"
        return Finding("PyTorch", False, words, _install_torch(machine))
    if not torch.available:
        return _unusable_gpu(machine, torch)
    if missing := [gpu for gpu in machine.hardware.gpus if not _has_code_for(torch, gpu)]:
        chip = f"{plain(missing[0].name or 'this GPU')} ({missing[0].compute_capability})"
        words = f"{torch.version} for CUDA {torch.cuda} holds no code for {chip}"
        return Finding("PyTorch", False, words, _install_torch(machine))
    takes = f", the driver takes {_dotted(driver)}" if driver else ""
    return Finding("PyTorch", True, f"{torch.version}, CUDA {torch.cuda}{takes}")


def package_finding(machine: Machine, name: str) -> Finding:
    """Whether a package is there in a version this program works with."""
    version = machine.versions.get(name)
    lowest, too_new = machine.requirements.get(name, (None, None))
    wanted = ",".join([f">={lowest}"] * bool(lowest) + [f"<{too_new}"] * bool(too_new))
    fix = f"{machine.pip} install {shlex.quote(name + wanted)}"
    if version is None:
        loss = _OPTIONAL.get(name)
        return Finding(
            name,
            None if loss else False,
            f"not installed: {loss}" if loss else "not installed",
            fix,
        )
    if lowest and _numbers(version) < _numbers(lowest):
        return Finding(name, False, f"{version} is older than {lowest}", fix)
    if too_new and _numbers(version) >= _numbers(too_new):
        return Finding(name, False, f"{version} is newer than what works (<{too_new})", fix)
    return Finding(name, True, version)


def home_finding(machine: Machine) -> Finding:
    """Whether runs can be written, and whether they stay."""
    if machine.home_error:
        fix = "--home FOLDER, or export FINETUNE_TUI_HOME=FOLDER, with a folder you may write"
        return Finding("home", False, f"cannot be written: {machine.home_error}", fix)
    if machine.on_container_disk:
        words = f"{machine.home} is on the container's own disk and goes when the container goes"
        offered = shlex.quote(str(machine.lasting[0] / "finetune-tui")) if machine.lasting else None
        fix = f"export FINETUNE_TUI_HOME={offered}" if offered else "mount a volume and use --home"
        return Finding("home", None, words, fix)
    return Finding("home", True, str(machine.home))


def disk_finding(machine: Machine) -> Finding:
    """Whether the home's disk has room for models and checkpoints."""
    free, total = machine.hardware.disk_free, machine.hardware.disk_total
    if free is None:
        return Finding("disk", None, "unknown")
    words = f"{size(free)} free" + (f" of {size(total)}" if total else "")
    if free < LITTLE_DISK:
        fix = "free some space, or use --home on a larger disk"
        return Finding("disk", False, f"only {words}", fix)
    return Finding("disk", True, words)


def memory_finding(machine: Machine) -> Finding:
    """Whether there is main memory to load a model through."""
    available, total = machine.hardware.memory_available, machine.hardware.memory_total
    if available is None:
        return Finding("memory", None, "unknown")
    words = f"{size(available)} free" + (f" of {size(total)}" if total else "")
    if available < LITTLE_MEMORY:
        return Finding("memory", False, f"only {words}", "end what uses it (top -o %MEM)")
    return Finding("memory", True, words)


def logout_finding(machine: Machine) -> Finding:
    """Whether a run goes on after logout."""
    if machine.ends_at_logout is None:
        return Finding("logout", True, "runs go on after you log out")
    return Finding("logout", False, plain(machine.ends_at_logout), "loginctl enable-linger")


def terminal_finding(machine: Machine) -> Finding:
    """Whether the app can be drawn here."""
    terminal = machine.terminal
    if not terminal.is_one:
        return Finding("terminal", None, "none here: the commands work, the app does not open")
    if terminal.term in ("", "dumb", "unknown"):
        words = f"TERM is '{plain(terminal.term, 40)}': the app cannot draw"
        return Finding("terminal", False, words, "export TERM=xterm-256color")
    if not terminal.utf8:
        words = "not UTF-8: lines and bars show as question marks"
        return Finding("terminal", False, words, "export LC_ALL=C.UTF-8")
    many = terminal.truecolor or "256" in terminal.term or "direct" in terminal.term
    colours = "16M colours" if terminal.truecolor else "256 colours" if many else "few colours"
    inside = f" in {terminal.inside}" if terminal.inside else ""
    words = f"{plain(terminal.term, 40)}{inside} · {terminal.columns}×{terminal.lines} · {colours}"
    if terminal.columns < 80 or terminal.lines < 24:
        return Finding("terminal", None, f"{words}: small", "80×24 or more shows everything")
    if not many:
        better = "screen-256color" if terminal.inside else "xterm-256color"
        return Finding("terminal", None, words, f"export TERM={better}")
    return Finding("terminal", True, words)


def hub_finding(machine: Machine) -> Finding:
    """Whether gated models can be downloaded, and results be pushed."""
    name, login = "Hub login", machine.hub_login
    if not login:
        words = "none: open models download; gated ones (Llama, Gemma) do not, and no push"
        return Finding(name, None, words, "hf auth login")
    token = f"token in {plain(login)}"
    match machine.hub:
        case None:
            return Finding(name, True, token)
        case Account() as account if account.may_write is False:
            words = f"{account.name}, {token}, may only read: no push"
            return Finding(name, None, words, "make a token that may write, then hf auth login")
        case Account() as account:
            return Finding(name, True, f"{account.name}, {token}, {account.rights}")
        case TokenRefused():
            return Finding(name, False, f"the Hub does not accept the {token}", "hf auth login")
        case error:
            return Finding(name, True, f"{token}; not asked what it may do: {error.message}")


def wheel_index(driver: _Version, capabilities: list[_Version]) -> str | None:
    """The name of the PyTorch wheel index that fits driver and GPUs, or None when none does.

    A driver runs every build of its own CUDA major version and of older ones. Builds for CUDA 12.8
    and later dropped chips before 7.5; only they know chips from 10.0 on.
    """
    old = any(capability < (7, 5) for capability in capabilities)
    new = any(capability >= (10, 0) for capability in capabilities)
    if driver >= (13, 0) and not old:
        return "cu130"
    if driver >= (12, 8) and new and not old:
        return "cu128"
    if driver >= (12, 0) and not new:
        return "cu126"
    return "cu118" if driver >= (11, 0) and not new else None


def _unusable_gpu(machine: Machine, torch: Torch) -> Finding:
    driver = machine.cuda_driver
    if machine.visible_devices is not None and machine.visible_devices.strip() in ("", "-1"):
        words = f"{torch.version} sees no GPU: CUDA_VISIBLE_DEVICES hides them all"
        return Finding("PyTorch", False, words, "unset CUDA_VISIBLE_DEVICES")
    if driver and _numbers(torch.cuda or "")[:1] > driver[:1]:
        words = (
            f"{torch.version} is built for CUDA {torch.cuda},"
            f" the driver takes {_dotted(driver)} at most"
        )
        return Finding("PyTorch", False, words, _install_torch(machine))
    why = plain(torch.error or "it does not say why", 300)
    fix = "nvidia-smi must work; in a container, start it with --gpus all; else restart the machine"
    return Finding("PyTorch", False, f"{torch.version} cannot use the GPU: {why}", fix)


def _install_torch(machine: Machine) -> str:
    """The command that puts a fitting torch in place of the one that is there."""
    pip = machine.pip
    there = [name for name in ("torch", *COMPANIONS) if machine.versions.get(name)]
    remove = f"{pip} uninstall -y {' '.join(there)} && " if there else ""
    # Removed first: pip calls a CPU build of the same version "already satisfied".
    packages = " ".join(there) or "torch"
    if not machine.hardware.gpus:
        return f"{remove}{pip} install {packages} --index-url {WHEELS}cpu"
    if machine.cuda_driver is None:
        return f"{remove}{pip} install {packages}"
    capabilities = [_numbers(gpu.compute_capability or "") for gpu in machine.hardware.gpus]
    index = wheel_index(machine.cuda_driver, [known for known in capabilities if known])
    if index is None:
        takes = _dotted(machine.cuda_driver)
        return f"update the NVIDIA driver: no PyTorch suits all these GPUs and CUDA {takes}"
    if index == "cu118":
        packages = packages.replace("torch", "torch==2.7.1", 1)  # the last one built for CUDA 11
    return f"{remove}{pip} install {packages} --index-url {WHEELS}{index}"


def _has_code_for(torch: Torch, gpu: Gpu) -> bool:
    """Machine code runs on the same major chip of its own minor version or a later one; PTX
    ("compute_") is compiled for any later chip. True when either side is unknown."""
    chip = _numbers(gpu.compute_capability or "")
    if not chip or not torch.architectures:
        return True
    for name in torch.architectures:
        if found := re.fullmatch(r"(sm|compute)_(\d+)(\d)", name):
            built = int(found[2]), int(found[3])
            if built <= chip and (found[1] == "compute" or built[0] == chip[0]):
                return True
    return False


def _gpu_words(gpu: Gpu, context: int | None) -> str:
    name = plain(gpu.name or "unknown GPU", 60)
    memory = f" {size(gpu.total)}" if gpu.total else ""
    measured = f", of which CUDA took {size(context)} when runs measured it" if context else ""
    error = f" ({plain(gpu.error, 120)})" if gpu.error else ""
    return f"GPU{gpu.index} {name}{memory}{measured}{error}"


def _numbers(version: str) -> _Version:
    """'2.13.0+cu130' → (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _dotted(version: _Version) -> str:
    return ".".join(map(str, version))
