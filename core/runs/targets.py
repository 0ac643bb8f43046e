"""The trained run that a comparison, an export or a chat works on: found, and seen to have a result."""

from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory, find_run
from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.task_spec import TaskSpec
from finetune_tui.core.tuning.tasks import OTHER_TASKS


def find_target(home: Path, run: str) -> RunDirectory:
    """The trained run meant by `r7` or a path. Raises UserError when there is none, or it has no result."""
    if not run:
        raise UserError("no run is named", where="run", hint="name a trained run, as `r7`")
    try:
        target = find_run(home, run)
    except UserError:
        if not Path(run).is_absolute():
            raise
        raise _gone(run) from None
    require_result(target)
    return target


def target_of(spec: TaskSpec) -> RunDirectory:
    """The trained run of a spec that was launched. Raises UserError when it is gone or has no result."""
    target = RunDirectory(Path(spec.run))
    if not target.path.is_dir():
        raise _gone(spec.run)
    require_result(target)
    return target


def require_result(run: RunDirectory) -> None:
    """Raises UserError when a run has nothing that could answer, and says what is missing."""
    name = plain(run.short_id)
    state = run.state()
    if state.task != "train":
        raise UserError(
            f"{name} is {OTHER_TASKS.get(state.task, 'other work')}, not a training",
            hint=f"it is about {state.target}: say that" if state.target else "name a trained run",
        )
    if has_result(run) or (
        run.newest_checkpoint_step() is not None and not run.liveness().is_alive
    ):
        return
    liveness = run.liveness()
    if liveness.is_alive or liveness.status is Status.ELSEWHERE:
        raise UserError(
            f"{name} has no result yet ({liveness.words})",
            hint=f"`finetune-tui attach {name}` follows it",
        )
    raise UserError(
        f"{name} has no result: neither adapter, trained.safetensors nor a checkpoint",
        where=str(run.path),
        hint=f"`finetune-tui resume {name}` trains it to its end",
    )


def _gone(path: str) -> UserError:
    name = plain(Path(path).name, 60)
    return UserError(
        f"the trained run {name} is not there any more",
        where=plain(path, 300),
        hint=f"`finetune-tui restore {name}` brings it back if it was deleted",
    )


def has_result(run: RunDirectory) -> bool:
    """Whether a training left what it trained, in one file or both."""
    return run.adapter.is_dir() or run.trained.is_file()
