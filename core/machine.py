"""What `doctor` judges, read from this machine; torch is asked in a process of its own."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.hardware import Hardware, read_hardware
from finetune_tui.core.memory.calibration import context_for
from finetune_tui.core.models.hub_account import Account, who_am_i
from finetune_tui.core.runs.detached import ends_at_logout
from finetune_tui.core.runs.home import lasting_mounts, on_container_disk

TORCH_TIMEOUT = 120.0
"""Seconds for a first `import torch` from a cold network disk."""
PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")
COMPANIONS = ("torchvision", "torchaudio")
"""Packages that must be replaced together with torch where they are installed."""

_ASK_TORCH = """
import json
try:
    import torch
except BaseException as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
else:
    error = None
    available = torch.cuda.is_available()
    if torch.version.cuda and not available:
        try:
            torch.cuda.init()
        except Exception as refusal:
            error = str(refusal)
    print(json.dumps({
        "version": str(torch.__version__), "cuda": torch.version.cuda, "rocm": torch.version.hip,
        "available": available, "architectures": torch.cuda.get_arch_list(), "error": error,
    }))
"""


@dataclass(frozen=True, slots=True)
class Torch:
    """What torch says of itself. version None: it could not be imported, and `error` is why.

    architectures: what it holds code for, as "sm_90" and "compute_90". error: why no GPU is usable.
    """

    version: str | None = None
    cuda: str | None = None
    rocm: str | None = None
    available: bool = False
    architectures: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal on stdout, if any."""

    is_one: bool
    term: str
    truecolor: bool
    columns: int
    lines: int
    inside: str | None
    utf8: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything `doctor` looks at, as plain values.

    cuda_driver: the newest CUDA that the driver takes. nvidia_device: the kernel or the bus shows
    one. versions: of installed packages, None for those that are not. requirements: lowest version
    and first too new one of what this program needs. home_error: why nothing can be written there.
    ends_at_logout: why runs end at logout, or None when they go on. hub_login: where a token was
    found; never the token. cuda_contexts: bytes that CUDA takes on each GPU, None: no run measured it.
    hub: whose token the Hub says it is, or why it does not; None when it was not asked.
    """

    python: str
    pip: str
    hardware: Hardware
    cuda_driver: tuple[int, int] | None
    nvidia_device: bool
    visible_devices: str | None
    torch: Torch
    versions: Mapping[str, str | None]
    requirements: Mapping[str, tuple[str | None, str | None]]
    home: Path
    home_error: str | None
    on_container_disk: bool
    lasting: tuple[Path, ...]
    ends_at_logout: str | None
    terminal: Terminal
    hub_login: str | None
    cuda_contexts: tuple[int | None, ...] = ()
    hub: Account | UserError | None = None


def read_machine(home: Path, ask_hub: bool = False) -> Machine:
    """Look at this machine; takes the seconds that importing torch takes. Never raises.

    ask_hub: also ask the Hub whose token it is, when there is one.
    """
    hardware = read_hardware(_existing(home))
    hub_login = find_hub_login(os.environ, Path.home())
    return Machine(
        python=".".join(str(part) for part in sys.version_info[:3]),
        pip=pip_command(sys.executable, has_pip=importlib.util.find_spec("pip") is not None),
        hardware=hardware,
        cuda_driver=read_cuda_driver(),
        nvidia_device=has_nvidia_device(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        torch=ask_torch((sys.executable, "-c", _ASK_TORCH)),
        versions={name: _version(name) for name in (*PACKAGES, *COMPANIONS)},
        requirements=read_requirements(_own_requirements()),
        home=home,
        home_error=why_not_writable(home),
        on_container_disk=on_container_disk(home),
        lasting=lasting_mounts(),
        ends_at_logout=ends_at_logout(),
        terminal=_own_terminal(),
        hub_login=hub_login,
        cuda_contexts=tuple(context_for(home, gpu) for gpu in hardware.gpus),
        hub=_ask_hub() if ask_hub and hub_login else None,
    )


def _ask_hub() -> Account | UserError:
    try:
        return who_am_i()
    except UserError as error:
        return error


def ask_torch(command: Sequence[str], timeout: float = TORCH_TIMEOUT) -> Torch:
    """Run `command` and read what it prints last as torch's answer. Never raises."""
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout
        )
        answer = json.loads(done.stdout.decode(errors="replace").strip().splitlines()[-1])
        answer["architectures"] = tuple(answer.get("architectures") or ())
        return Torch(**answer)
    except subprocess.TimeoutExpired:
        return Torch(error=f"importing it took more than {timeout:.0f} seconds")
    except OSError as error:
        return Torch(error=f"Python could not be started ({error.strerror})")
    except (ValueError, TypeError, LookupError, AttributeError):
        return Torch(error=f"importing it ended the process (exit code {done.returncode})")


def read_cuda_driver() -> tuple[int, int] | None:
    """The newest CUDA version that the NVIDIA driver takes, such as (12, 4)."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            version = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # no driver, a broken one, or no NVML at all: all the same here
        return None
    return version // 1000, version % 1000 // 10


def has_nvidia_device(root: Path = Path("/")) -> bool:
    """Whether the kernel or the PCI bus shows an NVIDIA GPU, with or without a working driver."""
    if any((root / "dev").glob("nvidia[0-9]*")):
        return True
    for device in (root / "sys/bus/pci/devices").glob("*"):
        is_display = _first_line(device / "class").startswith("0x03")
        if is_display and _first_line(device / "vendor") == "0x10de":
            return True
    return False


def read_requirements(lines: Sequence[str]) -> dict[str, tuple[str | None, str | None]]:
    """`torch>=2.6,<3` → {"torch": ("2.6", "3")}; what only an extra needs is left out."""
    found = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        if name and "extra" not in marker:
            lowest = re.search(r">=\s*([\d.]+)", requirement)
            too_new = re.search(r"<\s*([\d.]+)", requirement)
            found[name[0]] = (lowest and lowest[1], too_new and too_new[1])
    return found


def pip_command(executable: str, has_pip: bool) -> str:
    """How to call pip for this very Python, which need not be the one on PATH."""
    python = shlex.quote(executable)
    return f"{python} -m pip" if has_pip else f"{python} -m ensurepip && {python} -m pip"


def why_not_writable(home: Path) -> str | None:
    """Why no file can be made under `home`, or None. The home itself is not made."""
    folder = _existing(home)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def read_terminal(environment: Mapping[str, str], is_one: bool, encoding: str) -> Terminal:
    """The terminal as the environment and stdout show it."""
    size = shutil.get_terminal_size((0, 0))
    inside = "tmux" if environment.get("TMUX") else "screen" if environment.get("STY") else None
    return Terminal(
        is_one=is_one,
        term=environment.get("TERM", ""),
        truecolor=environment.get("COLORTERM") in ("truecolor", "24bit"),
        columns=size.columns,
        lines=size.lines,
        inside=inside,
        utf8=encoding.lower().replace("-", "") == "utf8",
    )


def find_hub_login(environment: Mapping[str, str], user_home: Path) -> str | None:
    """Where a Hugging Face token lies, without reading it; None when there is none."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if environment.get(name, "").strip():
            return f"${name}"
    cache = Path(environment.get("XDG_CACHE_HOME") or user_home / ".cache")
    hub_home = Path(environment.get("HF_HOME") or cache / "huggingface")
    file = Path(environment.get("HF_TOKEN_PATH") or hub_home / "token")
    try:
        return str(file) if file.stat().st_size else None
    except (OSError, ValueError):
        return None


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))


def _own_terminal() -> Terminal:
    out = sys.__stdout__  # the app and tests put something else in sys.stdout
    if out is None or out.closed:
        return read_terminal(os.environ, False, "")
    return read_terminal(os.environ, out.isatty(), out.encoding)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _own_requirements() -> list[str]:
    try:
        return importlib.metadata.requires("finetune-tui") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _first_line(path: Path) -> str:
    return _text(path).partition("\n")[0]
