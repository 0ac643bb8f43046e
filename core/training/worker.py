"""The worker: one process, one run. What it does goes by the run's task; here is how it begins and ends.

    python -m finetune_tui.core.training.worker RUN_DIR [--resume]

Started by the supervisor. Ends with exit code 0 after the event `finished`, `stopped` or `paused`, 1 after
`failed`.
torch is imported only once the run knows its worker: that alone takes seconds.
"""

import argparse
import contextlib
import importlib
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.lock import adopt_or_take_lock
from finetune_tui.core.training.reporter import ReleaseRequested, Reporter, StopRequested
from finetune_tui.core.training.room import is_disk_full

WORK = {
    "train": "finetune_tui.core.training.work:work",
    "compare": "finetune_tui.core.evidence.measure:work",
    "export": "finetune_tui.core.export.merge:work",
}
"""The work of each task, as text: the rooms of what follows a training import it, never the other way."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="worker", description="Does one run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args(arguments)
    run = RunDirectory(options.run)
    try:
        lock = adopt_or_take_lock(run)
    except UserError as error:
        print(f"worker: {error}", file=sys.stderr)
        return error.exit_code
    reporter = Reporter(run)
    _answer_signals(reporter)
    reporter.start()
    try:
        return _end_with_words(run, reporter, options.resume)
    finally:
        lock.close()


def _end_with_words(run: RunDirectory, reporter: Reporter, resume: bool) -> int:
    """Whatever happens, the last event says so."""
    try:
        reporter.phase("starting")
        work = _work_of(run.task_spec().task)
        work(run, reporter, resume)
        reporter.end()
        return 0
    except StopRequested as request:
        _say_left(request, run, reporter)
        reporter.end()
        return 0
    except BaseException as error:
        with contextlib.suppress(OSError):  # the log may lie on a full disk
            traceback.print_exc()
        reporter.event("failed", **_failure(error, run).to_json())
        reporter.end()
        return 1


def _work_of(task: str) -> Callable[[RunDirectory, Reporter, bool], None]:
    module, _, name = WORK[task].partition(":")
    work: Callable[[RunDirectory, Reporter, bool], None]
    work = getattr(importlib.import_module(module), name)
    return work


def _say_left(request: StopRequested, run: RunDirectory, reporter: Reporter) -> None:
    how: dict[str, str] = {}
    kind = "stopped"
    if isinstance(request, ReleaseRequested):
        kind, how = "paused", {"how": "release"}
    step, kept = reporter.state.step, run.newest_checkpoint_step()
    reporter.event(kind, step=step, checkpoint=kept, why=str(request), **how)


def _failure(error: BaseException, run: RunDirectory) -> UserError:
    """What went wrong in a person's words."""
    if isinstance(error, UserError):
        return error
    if is_disk_full(error):
        return WorkFailed("the disk is full", where=str(run.path), hint="make room on it")
    first = (str(error).strip().splitlines() or [""])[0]
    return WorkFailed(
        f"{type(error).__name__}: {first}" if first else type(error).__name__,
        where=str(run.log_path),
        hint="the log has the whole story",
    )


def _answer_signals(reporter: Reporter) -> None:
    names = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "SIGINT"}
    for number, name in names.items():
        signal.signal(number, lambda *_, name=name: reporter.ask_to_stop(f"asked by {name}"))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
