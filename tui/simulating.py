"""Simulating beside the screen: one question at a time, with progress, and a way out from every place."""

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import FIELDS, Spec
from finetune_tui.tui.threads import on_this_thread

if TYPE_CHECKING:
    from finetune_tui.core.memory.simulated import Simulation
    from finetune_tui.core.memory.simulating import SimulationQuestion
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.tui.screens.place import Place
    from finetune_tui.tui.session import Session

# What a step's memory does not depend on; a key that is not named here counts as one it does.
_WITHOUT_EFFECT = frozenset(
    (
        *(
            "task",
            "name",
            "preset",
            "modules",
            "eval_files",
            "eval_split",
            "strict",
            "gpus",
            "memory_check",
            "seed",
        ),
        *("learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps"),
        *("weight_decay", "lora_alpha", "use_rslora", "tf32", "report_to"),
        *("eval_steps", "eval_replies", "eval_samples", "load_best_model_at_end"),
        *("early_stopping_patience", "early_stopping_threshold", "save_steps", "save_total_limit"),
    )
)
_PLAIN = {name: FIELDS[name].default for name in _WITHOUT_EFFECT}


class Question(NamedTuple):
    """What a simulation's answer depends on. longest: tokens of the longest row of the data, where known."""

    manifest: "Manifest"
    selection: Selection
    spec: Spec
    longest: int | None


@dataclass(frozen=True, slots=True)
class SimulationState:
    """A simulation that goes on (progress: words), has failed (error) or has an answer (result)."""

    question: Question
    progress: str | None = None
    error: str | None = None
    result: "Simulation | None" = None
    cancelled: threading.Event = field(default_factory=threading.Event)


def question_of(session: "Session") -> Question | None:
    """What would be asked now; None without a model."""
    if session.manifest is None:
        return None
    settings = replace(session.spec, **_PLAIN)
    return Question(session.manifest, session.selection, settings, _longest(session))


def simulate(place: "Place") -> None:
    """Ask for the simulation of what is chosen now; one that goes on for something else is cancelled."""
    session = place.session
    question = question_of(session)
    if question is None:
        place.finetune.say("no model open: 1 chooses one")
        return
    before = session.simulation
    if before and before.progress:
        return
    cancel(session)
    asked = asked_of(session)
    state = SimulationState(question, progress="loading PyTorch")

    def show(now: SimulationState) -> None:
        shown = session.simulated
        if shown and shown.cancelled is state.cancelled:
            session.simulated = now
            place.finetune.session_changed()

    progress = on_this_thread(lambda words: show(replace(state, progress=plain(words, 120))))

    def work() -> "Simulation":
        return place.services.simulate(asked, progress, state.cancelled)

    def failed(error: UserError) -> None:
        show(replace(state, progress=None, error=plain(str(error), 300)))

    session.simulated = state
    place.finetune.in_thread(
        work, lambda found: show(replace(state, progress=None, result=found)), "simulation", failed
    )
    place.finetune.session_changed()


def asked_of(session: "Session") -> "SimulationQuestion":
    """The question as the call takes it: full batches, or ones of the longest rows there are."""
    from finetune_tui.core.memory.simulating import SimulationQuestion

    spec, longest = session.current_spec(), _longest(session)
    batches: tuple[tuple[int, int], ...] = ()
    if longest is not None:
        batch = (spec.per_device_train_batch_size, longest)
        batches = (batch,) * min(spec.gradient_accumulation_steps, 2)
    budget = None if spec.use_cpu else session.budget
    return SimulationQuestion(spec, budget, session.context, batches)


def _longest(session: "Session") -> int | None:
    """Tokens of the longest row, when the data has been counted and no row fills its place."""
    tokens, spec = session.tokens, session.spec
    if tokens is None or spec.packing or tokens.lengths.max >= spec.max_length:
        return None
    return tokens.lengths.max


def cancel(session: "Session") -> bool:
    """End the one that goes on, forget the one that is shown; whether there was one."""
    state, session.simulated = session.simulated, None
    if state is not None:
        state.cancelled.set()
    return state is not None


def cancel_if_stale(session: "Session") -> None:
    """Nobody waits for a simulation of what is no longer chosen."""
    state = session.simulated
    if state and state.progress and session.simulation is None:
        cancel(session)
