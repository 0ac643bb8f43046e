"""Which runs a list shows and in which order: what a person types as a filter, and the sort keys."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.runs.state import Status

Test = Callable[[RunFacts], bool]

_TEXTS: dict[str, Callable[[RunFacts], str]] = {
    "id": lambda facts: f"{facts.id} {facts.short_id}",
    "name": lambda facts: facts.name,
    "note": lambda facts: facts.note,
    "model": lambda facts: facts.model,
    "preset": lambda facts: facts.preset,
    "status": lambda facts: facts.status.value,
}
_IS: dict[str, Test] = {
    "archived": lambda facts: facts.archived,
    "live": lambda facts: facts.liveness.is_alive or facts.status is Status.ELSEWHERE,
}
FILTER_KEYS = (*_TEXTS, "task", "tag", "is")
FILTER_HELP = (
    "words · status:failed · tag:x · model:phi · task:compare · is:live · is:archived · -word"
)

# What goes on first, then what wants a person, then what is over.
_URGENCY = {
    status: place
    for place, status in enumerate(
        (
            *(Status.RUNNING, Status.PREPARING, Status.STARTING, Status.PAUSED, Status.ELSEWHERE),
            *(Status.DEAD, Status.KILLED, Status.FAILED, Status.STOPPED, Status.FINISHED),
            *(Status.BROKEN, Status.NEWER, Status.FOREIGN),
        )
    )
}

_SORTS: dict[str, tuple[Callable[[RunFacts], Any], bool]] = {
    "newest": (lambda facts: facts.created, True),
    "oldest": (lambda facts: facts.created, False),
    "name": (lambda facts: (facts.name or facts.id).lower(), False),
    "model": (lambda facts: facts.model.lower() or None, False),
    "preset": (lambda facts: facts.preset.lower() or None, False),
    "status": (lambda facts: _URGENCY[facts.status], False),
    "step": (lambda facts: facts.step, True),
    "eval loss": (lambda facts: facts.eval_loss, False),
    "best loss": (lambda facts: facts.best_eval_loss, False),
}
SORTS = tuple(_SORTS)


@dataclass(frozen=True, slots=True)
class Filter:
    """words: as typed. Every one must hold; `-` before one: it must not. with_archived: archived runs are
    among the others, which hide them else."""

    words: tuple[str, ...] = ()
    with_archived: bool = False

    @staticmethod
    def parse(text: str, with_archived: bool = False) -> "Filter":
        """Never raises: what is no key is a plain word."""
        return Filter(tuple(text.lower().split()), with_archived)

    @property
    def shows_archived(self) -> bool:
        return self.with_archived or "is:archived" in self.words

    def matches(self, facts: RunFacts) -> bool:
        if facts.archived and not self.shows_archived:
            return False
        return all(_holds(word, facts) for word in self.words)


def arrange(
    facts: Iterable[RunFacts], wanted: Filter = Filter(), sort: str = "newest"
) -> list[RunFacts]:
    """Those that match, sorted by one of SORTS; what is unknown comes last, equals newest first.

    An unknown sort is "newest".
    """
    key, falls = _SORTS.get(sort, _SORTS["newest"])
    shown = sorted((each for each in facts if wanted.matches(each)), key=_number, reverse=True)
    known = [each for each in shown if key(each) is not None]
    return sorted(known, key=key, reverse=falls) + [each for each in shown if key(each) is None]


def _holds(word: str, facts: RunFacts) -> bool:
    wanted = word.removeprefix("-")
    holds = _matches(wanted, facts) if wanted else True
    return not holds if word.startswith("-") and wanted else holds


def _matches(word: str, facts: RunFacts) -> bool:
    key, colon, value = word.partition(":")
    if colon and key == "tag":
        return not value or value in facts.tags
    if colon and key == "task":
        return value in facts.task
    if colon and key == "is" and value in _IS:
        return _IS[value](facts)
    if colon and key in _TEXTS:
        return value in _TEXTS[key](facts).lower()
    return any(word in text(facts).lower() for text in _TEXTS.values()) or any(
        word in tag for tag in facts.tags
    )


def _number(facts: RunFacts) -> tuple[int, str]:
    number = facts.run.number
    return (-1 if number is None else number, facts.run.id)
