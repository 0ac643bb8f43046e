"""The hook: a person's own command, run when a run ends, with what there is to know in its environment.

The command comes from the settings of whoever started the run, never from a spec. How it went is
written beside the run and changes nothing of the run's own result.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.runs.detached import open_log
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.endings import last_log_line
from finetune_tui.core.runs.events import append_event
from finetune_tui.core.runs.labels import read_labels
from finetune_tui.core.runs.lock import LOCK_VARIABLE
from finetune_tui.core.runs.state import State, Status
from finetune_tui.core.text import duration, plain

TIME_LIMIT = 60.0  # seconds a hook may take

_GRACE = 2.0  # seconds between asking it to end and ending it
_LONGEST = 1000  # characters of one fact


@dataclass(frozen=True, slots=True)
class HookResult:
    """time: when it began, seconds since 1970. exit_code: None when it was ended or never began.

    words: how it went, for people.
    """

    time: float
    exit_code: int | None
    words: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


def run_hook(run: RunDirectory, state: State, command: str) -> HookResult:
    """Run the command for the run that ended in this state. Blocks, up to a minute; never raises.

    What it prints goes to the run's log, how it went to its events.
    """
    try:
        log: BinaryIO | None = open_log(run.log_path)
    except OSError:
        log = None
    try:
        result = _run(command, facts_of(run, state), run.path, log)
    finally:
        if log:
            log.close()
    with contextlib.suppress(OSError):
        append_event(
            run,
            "hook",
            exit_code=result.exit_code,
            words=result.words,
            seconds=round(result.seconds, 3),
        )
    return result


def try_hook(home: Path, command: str) -> HookResult:
    """Run the command as if a run had ended, and remember how it went. As `run_hook` else."""
    with tempfile.TemporaryFile() as printed:
        result = _run(command, _FACTS_OF_A_TEST | {"FINETUNE_TUI_HOME": str(home)}, None, printed)
        if not result.ok and (said := last_log_line(Path(f"/dev/fd/{printed.fileno()}"))):
            words = f"{result.words}: {said}"
            result = HookResult(result.time, result.exit_code, words, result.seconds)
    with contextlib.suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        content = {"command": _digest(command), **asdict(result)}
        write_atomically(_memory(home), json.dumps(content) + "\n", durable=False)
    return result


def last_test(home: Path, command: str) -> HookResult | None:
    """How the last test of this very command went; None when it was never tested, or another since."""
    try:
        found = read_json(_memory(home), limit=2**16)
        if found["command"] != _digest(command):
            return None
        code = found["exit_code"]
        return HookResult(
            float(found["time"]),
            code if type(code) is int else None,
            plain(str(found["words"]), 300),
            float(found["seconds"]),
        )
    except (UserError, KeyError, TypeError, ValueError, IndexError, OverflowError):
        return None


def facts_of(run: RunDirectory, state: State) -> dict[str, str]:
    """The variables a hook gets; what is not known is empty. Texts are plain, and still not to be trusted
    as code: `"$FINETUNE_TUI_WHY"` in quotes is safe.
    """
    facts: dict[str, Any] = {
        "RUN": run.path,
        "ID": run.id,
        "NAME": read_labels(run).name,
        "TASK": state.task,
        "TARGET": state.target,
        "STATUS": state.status.value,
        "WHY": state.why,
        "WORDS": words_of(run, state),
        "MODEL": state.model,
        "PRESET": state.preset,
        "STEP": state.step,
        "TOTAL_STEPS": state.total_steps,
        "LOSS": state.loss,
        "EVAL_LOSS": state.eval_loss,
        "BEST_EVAL_LOSS": state.best_eval_loss,
        "BEST_STEP": state.best_step,
        "SECONDS": _seconds(state),
        "ADAPTER": run.adapter if run.adapter.is_dir() else None,
        "HOST": state.host,
        "HOME": run.path.parent.parent,
    }
    return {f"FINETUNE_TUI_{name}": _fact(value) for name, value in facts.items()}


def words_of(run: RunDirectory, state: State) -> str:
    """The end in one line: `r7-demo finished after 2h10, best held-out loss 0.447 at step 560`."""
    words = f"{plain(run.id, 100)} {state.status.value}"
    if (seconds := _seconds(state)) is not None:
        words += f" after {duration(seconds)}"
    if state.status is not Status.FINISHED and state.why:
        words += f": {plain(state.why, 200)}"
    if state.best_eval_loss is not None and state.best_step is not None:
        words += f", best held-out loss {state.best_eval_loss:.4g} at step {state.best_step}"
    return words


_FACTS_OF_A_TEST = {
    f"FINETUNE_TUI_{name}": value
    for name, value in {
        "RUN": "",
        "ID": "test",
        "NAME": "test",
        "TASK": "train",
        "TARGET": "",
        "STATUS": "finished",
        "WHY": "this is a test",
        "WORDS": "this is a test: a run would have ended",
        **dict.fromkeys(("MODEL", "PRESET", "STEP", "TOTAL_STEPS", "LOSS", "EVAL_LOSS"), ""),
        **dict.fromkeys(("BEST_EVAL_LOSS", "BEST_STEP", "SECONDS", "ADAPTER", "HOST"), ""),
    }.items()
}


def _run(
    command: str, facts: dict[str, str], folder: Path | None, printed: BinaryIO | None
) -> HookResult:
    began, clock = time.time(), time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != LOCK_VARIABLE}
    output: Any = printed or subprocess.DEVNULL
    try:
        hook = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment | facts,
            cwd=folder,
            process_group=0,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return HookResult(began, None, f"cannot be started ({plain(reason, 100)})", 0.0)
    code: int | None = None
    try:
        code = hook.wait(TIME_LIMIT)
    except subprocess.TimeoutExpired:
        _end(hook)
    seconds = time.monotonic() - clock
    return HookResult(began, code, _words(code, seconds), seconds)


def _words(code: int | None, seconds: float) -> str:
    if code is None:
        return f"ended after {duration(seconds)}: a hook has {TIME_LIMIT:.0f} s"
    if code == 0:
        return f"ran in {seconds:.1f} s"
    return f"exit code {code}" if code > 0 else f"killed by signal {-code}"


def _end(hook: "subprocess.Popen[bytes]") -> None:
    """The command and all it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(hook.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            hook.wait(_GRACE)


def _seconds(state: State) -> float | None:
    end = state.ended or state.heartbeat
    return None if state.started is None or end is None else max(end - state.started, 0.0)


def _fact(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else plain(str(value), _LONGEST)


def _memory(home: Path) -> Path:
    return home / "hook.json"


def _digest(command: str) -> str:
    """A command may hold a password; a home may be shared."""
    return hashlib.blake2b(command.encode("utf-8", "replace"), digest_size=16).hexdigest()
