"""What a person asks of a run, from the monitor and from the list alike: pause, stop, go on, watch."""

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.ask import AskScreen, ChoiceScreen, Option
from finetune_tui.tui.screens.place import Place

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


def ask_to_stop(place: Place, run: RunDirectory) -> None:
    """The only question before something ends: stop with a checkpoint."""

    def answered(yes: bool | None) -> None:
        if yes:
            request(place, run, "stop")

    explanation = "It writes a checkpoint first; r goes on from there."
    place.app.push_screen(
        AskScreen(f"Stop {plain(run.short_id)}?", explanation, "stop it"), answered
    )


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
