"""Which card to hold memory against when the GPU that will train is not here."""

from typing import TYPE_CHECKING

from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.text import size
from finetune_tui.tui.screens.ask import ChoiceScreen, Option

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetune_tui.tui.screens.place import Place
    from finetune_tui.tui.session import Session

HERE = "0"


def compare_with_card(place: "Place", then: "Callable[[], object] | None" = None) -> None:
    """Ask for a card, or this machine; `then` is called once memory is held against one."""
    session = place.session
    if session.spec.use_cpu:
        place.finetune.say("use_cpu is on: a run would need no card, only memory")
        return
    names = dict(zip("123456789", CARDS, strict=False))
    chosen = list(CARDS).index(session.card) if session.card else len(names)

    def answered(key: str | None) -> None:
        if key is None:
            return
        session.card = names.get(key)
        place.finetune.session_changed()
        if then and session.budget is not None:
            then()

    place.app.push_screen(ChoiceScreen("Which card?", _options(session, names), chosen), answered)


def _options(session: "Session", names: dict[str, str]) -> list[Option]:
    found = [Option(key, name, _words(session, CARDS[name])) for key, name in names.items()]
    gpu = session.gpu
    here = f"GPU{gpu.index} here" if gpu else "no card"
    free = f"{size(gpu.free)} free" if gpu and gpu.free is not None else ""
    return [*found, Option(HERE, here, free or "sizes only")]


def _words(session: "Session", usable: int) -> str:
    """`23.5G usable · nf4 fits`, for the precision that the settings say."""
    from finetune_tui.core.memory.estimate import precision_of, verdict

    precision = precision_of(session.spec, on_gpu=True)
    estimate = session.estimates.get(precision)
    says = verdict(estimate, usable) if estimate else None
    if estimate is None or says is None:
        return f"{size(usable)} usable"
    return f"{size(usable)} usable · {precision.value} {size(estimate.device)} {says.value}"
