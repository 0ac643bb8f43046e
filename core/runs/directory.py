"""The run directory: what lies where, how runs get their names and are found by them."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import write_atomically
from finetune_tui.core.runs.labels import LABELS, Labels, write_labels
from finetune_tui.core.runs.liveness import Liveness, derived_status
from finetune_tui.core.runs.state import State, Status, broken_state, read_state, write_state
from finetune_tui.core.text import did_you_mean, plain

if TYPE_CHECKING:
    from finetune_tui.core.tuning.spec import Spec
    from finetune_tui.core.tuning.task_spec import AnySpec

_ID = re.compile(r"r([0-9]{1,9})(?:-.*)?", re.DOTALL)
_CHECKPOINT = re.compile(r"step-([0-9]{1,12})")
_LONGEST_SLUG = 48


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run on disk. Nothing is read until it is asked for, so a list of thousands is cheap."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def number(self) -> int | None:
        """7 for `r7-demo`; None for a folder that was named by hand."""
        match = _ID.fullmatch(self.id)
        return int(match[1]) if match else None

    @property
    def short_id(self) -> str:
        """What a person types: `r7`, or the whole plain name."""
        return self.id if self.number is None else f"r{self.number}"

    @property
    def spec_path(self) -> Path:
        return self.path / "spec.yaml"

    @property
    def state_path(self) -> Path:
        return self.path / "state.json"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    @property
    def labels_path(self) -> Path:
        return self.path / LABELS

    @property
    def requests(self) -> Path:
        return self.path / "requests"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def trained(self) -> Path:
        return self.path / "trained.safetensors"

    def spec(self) -> "Spec":
        """What a training was asked. Raises UserError when the file is missing, wrong or of other work."""
        from finetune_tui.core.tuning.spec_file import read_spec

        return read_spec(self.spec_path)

    def task_spec(self) -> "AnySpec":
        """What was asked, whatever the work. Raises UserError when the file is missing or wrong."""
        from finetune_tui.core.tuning.task_spec import read_task_spec

        return read_task_spec(self.spec_path)

    def state(self) -> State:
        """Where it stands by its own word; never raises. `liveness` says whether that is so."""
        state = read_state(self.state_path)
        if state.status is not Status.BROKEN or not _is_missing(self.state_path):
            return state
        if _is_missing(self.path) or _leads_nowhere(self.path):
            return broken_state("a link that leads nowhere" if self.path.is_symlink() else "gone")
        if _is_missing(self.spec_path):
            words = "no run: neither state.json nor spec.yaml lies here"
            return State(status=Status.FOREIGN, why=words)
        return broken_state("state.json is missing")

    def liveness(self, now: float | None = None) -> Liveness:
        return derived_status(self.state(), now)

    def newest_checkpoint_step(self) -> int | None:
        """The step of the last checkpoint, by its name and that it was written to its end."""
        try:
            whole = [path.parent.name for path in self.checkpoints.glob("*/manifest.json")]
        except OSError:
            return None
        return max(
            (int(m[1]) for name in whole if (m := _CHECKPOINT.fullmatch(name))), default=None
        )

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """The run as `runs --json` lists it."""
        state = self.state()
        return {
            "id": plain(self.id),
            "task": state.task,
            "target": state.target,
            "model": state.model,
            "preset": state.preset,
            "status": derived_status(state, now).status.value,
            "step": state.step,
            "total_steps": state.total_steps,
            "eval_loss": state.eval_loss,
            "created": state.created,
        }


def create_run(
    home: Path,
    spec_text: str,
    slug: str,
    model: str | None = None,
    preset: str | None = None,
    labels: Labels | None = None,
    task: str = "train",
    target: str | None = None,
) -> RunDirectory:
    """A new run with the next number, whole from the moment it can be seen.

    slug: any text; what a folder's name may hold of it follows the number. labels: what it is called
    from the start. task, target: as in its state. Raises WorkFailed when the home cannot be written.
    """
    first = State(task=task, target=target, model=model, preset=preset)
    runs = home / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with _numbering(runs) as number:
            return _create_numbered(runs, number, spec_text, slug, first, labels or Labels())
    except OSError as error:
        raise WorkFailed(
            f"a run cannot be made ({error.strerror})",
            where=str(runs),
            hint="choose another place with --home or FINETUNE_TUI_HOME",
        ) from error


def list_runs(home: Path) -> list[RunDirectory]:
    """Every run, the newest first, also broken ones: only names are looked at. Never raises."""
    try:
        with os.scandir(home / "runs") as entries:
            names = [entry.path for entry in entries if entry.name[0] != "." and _may_be_run(entry)]
    except OSError:
        return []
    runs = [RunDirectory(Path(name)) for name in names]
    return sorted(runs, key=lambda run: (-1 if run.number is None else run.number, run.id))[::-1]


def find_run(home: Path, text: str) -> RunDirectory:
    """The run meant by `r7`, `7`, a whole id, the beginning of one, or the path of a run anywhere.

    Raises UserError, naming the nearest run or all that could be meant.
    """
    runs = list_runs(home)
    for matches in (_is_named, _is_numbered, _begins_with):
        found = [run for run in runs if matches(run, text)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(plain(run.id) for run in found[:5])
            raise UserError(f"'{text[:100]}' may be any of {len(found)} runs", hint=f"say {ids}")
    elsewhere = _run_at(text)
    if elsewhere:
        return elsewhere
    known = [run.id for run in runs] + [run.short_id for run in runs]
    hint = did_you_mean(text, known) or (
        f"the newest is {runs[0].short_id}" if runs else "there are no runs yet"
    )
    raise UserError(f"there is no run '{text[:100]}'", where=str(home / "runs"), hint=hint)


def task_words(task: str, target: str | None) -> str:
    """`compare r7` for the work of a run on another; empty for a training. Plain."""
    if task == "train":
        return ""
    return plain(f"{task} {RunDirectory(Path(target)).short_id if target else ''}".strip(), 60)


def slug_of(text: str) -> str:
    """Any text as part of a folder's name: small letters, digits and single dashes, maybe empty."""
    decomposed = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", decomposed.lower()).strip("-")
    return slug[:_LONGEST_SLUG].strip("-")


def _create_numbered(
    runs: Path, number: int, spec_text: str, slug: str, first: State, labels: Labels
) -> RunDirectory:
    clean = slug_of(slug)
    run = RunDirectory(runs / (f"r{number}-{clean}" if clean else f"r{number}"))
    beside = Path(tempfile.mkdtemp(prefix=".new-", dir=runs))
    try:
        beside.chmod(0o755)
        now = time.time()
        write_atomically(beside / run.spec_path.name, spec_text)
        write_state(beside / run.state_path.name, first.changed(created=now, heartbeat=now))
        if labels != Labels():
            write_labels(beside, labels)
        for folder in (run.requests, run.checkpoints):
            (beside / folder.name).mkdir()
        beside.rename(run.path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return run


@contextlib.contextmanager
def _numbering(runs: Path) -> Iterator[int]:
    """The next number, kept from everyone else meanwhile. A number is not given twice, even when
    its run was deleted: the file that is locked remembers the last one."""
    with (runs / ".numbers").open("a+") as file:
        with contextlib.suppress(OSError):  # some network disks cannot lock; then ids may be alike
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        remembered = file.read(20).strip()
        last = int(remembered) if remembered.isascii() and remembered.isdigit() else 0
        taken = [run.number or 0 for run in list_runs(runs.parent)]
        number = max([last, *taken]) + 1
        file.truncate(0)
        file.write(str(number))
        file.flush()
        yield number


def _may_be_run(entry: os.DirEntry[str]) -> bool:
    """A folder, or a link that should lead to one and leads nowhere."""
    try:
        return entry.is_dir() or (entry.is_symlink() and _leads_nowhere(Path(entry.path)))
    except OSError:  # a link in a circle
        return True


def _leads_nowhere(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return path.is_symlink()
    return False


def _is_missing(path: Path) -> bool:
    """Surely not there: what cannot be looked at may be."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _is_named(run: RunDirectory, text: str) -> bool:
    return run.id == text


def _is_numbered(run: RunDirectory, text: str) -> bool:
    return run.number is not None and text.lower() in (run.short_id, str(run.number))


def _begins_with(run: RunDirectory, text: str) -> bool:
    return bool(text) and run.id.startswith(text)


def _run_at(text: str) -> RunDirectory | None:
    if not text:
        return None
    try:
        path = Path(text).expanduser().resolve()
        if path.is_dir() and any((path / name).is_file() for name in ("state.json", "spec.yaml")):
            return RunDirectory(path)
    except (OSError, ValueError, RuntimeError):  # a name too long, a zero byte, an unknown ~user
        pass
    return None
