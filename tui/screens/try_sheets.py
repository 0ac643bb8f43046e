"""What Try asks over the screen: which run, which held-out row, where the model answers."""

from collections.abc import Callable

from finetune_tui.core.evidence.chat import Where
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.text import plain, size
from finetune_tui.tui.screens.ask import ChoiceScreen, Option
from finetune_tui.tui.screens.pick import PickScreen
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.screens.try_rows import HeldOut, row_detail, row_line, runs_to_ask
from finetune_tui.tui.widgets.lines import Line, clip_left, dim, line, wrap
from finetune_tui.tui.widgets.run_table import run_line

_MOST_GPUS = 9


def ask_run(
    place: Place, now: RunDirectory | None, chosen: Callable[[RunDirectory], object]
) -> None:
    """One of the runs that have a result."""
    services = place.services

    def show(facts: list[RunFacts]) -> None:
        if not facts:
            place.finetune.say("no run has a result yet")
            return
        time = services.clock()
        runs = [one.run for one in facts]

        def answered(at: int | None) -> None:
            if at is not None:
                chosen(runs[at])

        place.app.push_screen(
            PickScreen(
                "talk with which run?",
                len(facts),
                lambda index, width: run_line(facts[index], width, time),
                lambda index, width: _run_detail(facts[index], width),
                at=runs.index(now) if now in runs else 0,
            ),
            answered,
        )

    place.finetune.in_thread(
        lambda: runs_to_ask(services.list_runs(), services.clock()), show, "runs of Try"
    )


def _run_detail(facts: RunFacts, width: int) -> list[Line]:
    """What is known of a run, and where it lies."""
    words = [facts.liveness.words, *([facts.note] if facts.note else [])]
    lines = [line(f" {text}") for one in words for text in wrap(one, width - 2)]
    return [*lines, line(dim(f" {clip_left(plain(str(facts.run.path)), width - 2)}"))]


def ask_example(place: Place, held: HeldOut, at: int, chosen: Callable[[int], object]) -> None:
    """One of the held-out rows."""

    def answered(index: int | None) -> None:
        if index is not None:
            chosen(index)

    some = f"{len(held.rows)} of {held.total}" if held.total > len(held.rows) else str(held.total)
    place.app.push_screen(
        PickScreen(
            "ask which held-out row?",
            len(held.rows),
            lambda index, width: row_line(held.rows[index], index, width),
            lambda index, width: row_detail(held.rows[index], width),
            at=max(at, 0),
            note=f"{some}, never trained on",
        ),
        answered,
    )


def ask_where(place: Place, now: Where, chosen: Callable[[Where], object]) -> None:
    """The CPU, one of the GPUs, or as the run did."""
    hardware = place.session.hardware
    gpus = hardware.gpus[:_MOST_GPUS] if hardware else ()
    places = {"t": Where(), "c": Where(use_cpu=True)}
    options = [
        Option("t", "as it trained", "on the GPU it names or the first, on the CPU if it did"),
        Option("c", "on the CPU", "slowly; leaves the GPU to whoever trains"),
    ]
    for gpu in gpus:
        if gpu.uuid is None:
            continue
        key = str(gpu.index)
        places[key] = Where(use_cpu=False, gpu=gpu.uuid)
        free = f"{size(gpu.free)} free" if gpu.free is not None else "free memory unknown"
        options.append(Option(key, f"GPU{gpu.index} {plain(gpu.name or '', 30)}", free))

    def answered(key: str | None) -> None:
        if key is not None:
            chosen(places[key])

    at = next((index for index, one in enumerate(places.values()) if one == now), 0)
    place.app.push_screen(ChoiceScreen("Where shall it answer?", options, at), answered)
