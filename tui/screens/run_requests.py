"""What a person asks of a run, from the monitor and from the list alike: pause, stop, go on, watch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.duplicate import spec_to_edit
from finetune_tui.core.runs.queue import QueueItem
from finetune_tui.core.runs.targets import require_result
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.task_spec import CompareSpec
from finetune_tui.tui.screens.ask import AskScreen, ChoiceScreen, Option
from finetune_tui.tui.screens.place import Place

if TYPE_CHECKING:
    from finetune_tui.tui.screens.runs import RunsPlace

_PAUSES = (
    Option("h", "hold", "memory and GPU are kept; goes on at once"),
    Option("r", "release", "a checkpoint, then the machine is free; goes on from there"),
)
_ASKED = {
    "pause": "asked it to hold after this batch; p goes on",
    "release": "asked it to write a checkpoint and let go; p goes on from there",
    "checkpoint": "asked for a checkpoint after this step",
    "stop": "asked it to stop; it writes a checkpoint first",
}


def request(place: Place, run: RunDirectory, kind: str) -> None:
    """Drop a request, and say so."""
    place.finetune.in_thread(
        lambda: place.services.request(run, kind), lambda _: place.finetune.say(_ASKED[kind])
    )


def ask_to_pause(place: Place, run: RunDirectory) -> None:
    """The two kinds of pause: hold, or checkpoint and release."""

    def answered(kind: str | None) -> None:
        if kind:
            request(place, run, "pause" if kind == "h" else "release")

    place.app.push_screen(ChoiceScreen(f"Pause {plain(run.short_id)}?", _PAUSES), answered)


def ask_to_stop(place: Place, run: RunDirectory, is_training: bool = True) -> None:
    """The only question before something ends: stop, of a training with a checkpoint."""

    def answered(yes: bool | None) -> None:
        if yes:
            request(place, run, "stop")

    explanation = "It writes a checkpoint first; r goes on from there."
    if not is_training:
        explanation = "It ends after what it is at; r starts it again."
    place.app.push_screen(
        AskScreen(f"Stop {plain(run.short_id)}?", explanation, "stop it"), answered
    )


def ask_to_delete(place: Place, runs: Sequence[RunDirectory], agreed: Callable[[], object]) -> None:
    """The other question: into the bin, from where it comes back."""

    def answered(yes: bool | None) -> None:
        if yes:
            agreed()

    names = ", ".join(plain(run.short_id, 40) for run in runs[:4])
    more = f" and {len(runs) - 4} more" if len(runs) > 4 else ""
    one = "It goes into the bin with its checkpoints; u takes it back."
    many = "They go into the bin with their checkpoints; u takes them back."
    explanation = one if len(runs) == 1 else many
    place.app.push_screen(AskScreen(f"Delete {names}{more}?", explanation, "delete"), answered)


def duplicate(place: Place, run: RunDirectory, show: str = "train") -> None:
    """What a run was asked, as the spec in Train, to be changed and started again; shows that place.

    Of a comparison its sheet is shown.
    """

    def read() -> Spec | CompareSpec:
        is_comparison = run.state().task == "compare"
        return _comparison(run)[1] if is_comparison else spec_to_edit(run)

    async def found(spec: Spec | CompareSpec) -> None:
        if isinstance(spec, CompareSpec):
            runs = await _runs_place(place)
            await runs.show_compare(RunDirectory(Path(spec.run)), spec)
        else:
            edit(spec)

    def edit(spec: Spec) -> None:
        from finetune_tui.core.models.resolve import find_model
        from finetune_tui.tui.screens.train import TrainPlace

        reference = find_model(spec.model_name_or_path)
        for train in place.finetune.query(TrainPlace):
            train.show_settings()
        place.session.monitored = None
        place.finetune.opening.model(reference, spec, show)

    place.finetune.in_thread(read, found, group="duplicate")


def compare(place: Place, run: RunDirectory) -> None:
    """The sheet before a comparison of a trained run; of a comparison its own settings again."""

    def read() -> tuple[RunDirectory, CompareSpec | None]:
        of, spec = _comparison(run) if run.state().task == "compare" else (run, None)
        require_result(of)
        return of, spec

    async def found(answer: tuple[RunDirectory, CompareSpec | None]) -> None:
        runs = await _runs_place(place)
        await runs.show_compare(*answer)

    place.finetune.in_thread(read, found, group="compare")


def show_results(place: Place, run: RunDirectory) -> None:
    """What the comparisons of a trained run found; of a comparison what this one found."""

    def read() -> tuple[RunDirectory, str | None]:
        if run.state().task == "compare":
            return _comparison(run)[0], run.short_id
        return run, None

    async def found(answer: tuple[RunDirectory, str | None]) -> None:
        runs = await _runs_place(place)
        await runs.show_comparison(*answer)

    place.finetune.in_thread(read, found, group="results")


def try_run(place: Place, run: RunDirectory) -> None:
    """Talk with a trained run in Try; of one without a result Try itself, and why not."""
    from finetune_tui.tui.screens.trying import open_try

    async def found(_: None) -> None:
        await open_try(place, run)

    async def failed(error: UserError) -> None:
        await place.finetune.action_show_place("try")
        place.finetune.say_error(error)

    place.finetune.in_thread(lambda: require_result(run), found, "try", failed)


def _comparison(run: RunDirectory) -> tuple[RunDirectory, CompareSpec]:
    """Which run a comparison compares, and its settings. Raises UserError."""
    spec = run.task_spec()
    if not isinstance(spec, CompareSpec):
        raise UserError(f"{plain(run.short_id, 60)} is no comparison", where=str(run.spec_path))
    return RunDirectory(Path(spec.run)), spec


async def _runs_place(place: Place) -> "RunsPlace":
    """Brought to the front."""
    from finetune_tui.tui.screens.runs import RunsPlace  # whose views ask the same things of runs

    await place.finetune.action_show_place("runs")
    runs = place.finetune.place
    assert isinstance(runs, RunsPlace)
    return runs


def queue_up(place: Place, spec: Spec) -> None:
    """Put a spec at the end of the queue, and have the queue worked off."""

    def queued(item: QueueItem) -> None:
        place.finetune.say(f"{plain(item.id)} is in the queue; 5 Runs, then Q shows it")

    place.finetune.in_thread(lambda: place.services.enqueue(spec), queued, group="start")


def resume(place: Place, run: RunDirectory) -> None:
    """Let a worker that holds go on, else start from the newest checkpoint; and watch it."""

    def resumed(_: object) -> None:
        place.finetune.say(f"{plain(run.short_id)} goes on")
        place.app.call_later(open_monitor, place, run)

    place.finetune.in_thread(lambda: place.services.resume_run(run), resumed, group="start")


async def open_monitor(place: Place, run: RunDirectory) -> None:
    """Go to Train and watch this run there."""
    from finetune_tui.tui.screens.train import TrainPlace  # which asks the same things of runs

    place.session.monitored = run
    await place.finetune.action_show_place("train")
    train = place.finetune.place
    if isinstance(train, TrainPlace):
        train.watch_run(run)
