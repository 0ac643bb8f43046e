"""Names, notes, tags and the archive, as a person changes them from the list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.labels import Labels, change_labels, read_labels, read_tags
from finetune_tui.core.runs.listing import RunFacts
from finetune_tui.core.text import plain
from finetune_tui.tui.screens.runs_changes import names_of
from finetune_tui.tui.screens.runs_view import RunsView


@dataclass(slots=True)
class Labelling:
    """Other labels for some runs. change: what becomes of the labels of one; told: what that was."""

    runs: Sequence[RunDirectory]
    change: Callable[[Labels], Labels]
    told: str
    words: str = ""
    _before: list[tuple[RunDirectory, Labels]] = field(default_factory=list)

    def do(self) -> None:
        self._before = []
        for run in self.runs:
            labels = read_labels(run)
            _write(run, self.change(labels))
            self._before.append((run, labels))
        self.words = f"{names_of(self.runs)}: {self.told}"

    def undo(self) -> None:
        for run, labels in self._before:
            _write(run, labels)
        self.words = f"{names_of(self.runs)}: as before"


def archive(view: RunsView, chosen: Sequence[RunFacts]) -> None:
    """Out of the list; when all of them are out already, back into it."""
    if chosen:
        away = not all(facts.archived for facts in chosen)
        told = "archived" if away else "in the list again"
        _label(view, chosen, lambda labels: replace(labels, archived=away), told)


def ask_name(view: RunsView, facts: RunFacts) -> None:
    def answered(name: str) -> None:
        told = f"now '{plain(name, 60)}'" if name else "without a name"
        _label(view, [facts], lambda labels: replace(labels, name=name), told)

    view.finetune.ask(f"name of {facts.short_id}", answered, facts.name)


def ask_note(view: RunsView, facts: RunFacts) -> None:
    def answered(note: str) -> None:
        told = "noted" if note else "without a note"
        _label(view, [facts], lambda labels: replace(labels, note=note), told)

    view.finetune.ask(f"note on {facts.short_id}", answered, facts.note)


def ask_tags(view: RunsView, facts: RunFacts) -> None:
    def answered(text: str) -> None:
        told = f"tags {plain(text, 60)}" if text else "without tags"
        _label(view, [facts], lambda labels: replace(labels, tags=read_tags(text)), told)

    view.finetune.ask(f"tags of {facts.short_id}", answered, " ".join(facts.tags))


def ask_more_tags(view: RunsView, chosen: Sequence[RunFacts]) -> None:
    """Added to what each has; one after a dash is taken away."""

    def answered(text: str) -> None:
        if text:
            told = f"tags {plain(text, 60)}"
            _label(view, chosen, lambda labels: with_tags(labels, text), told)

    view.finetune.ask(f"tags for {len(chosen)} runs, -tag takes away", answered)


def with_tags(labels: Labels, text: str) -> Labels:
    """The labels with these tags as well; a tag after a dash is taken away. Raises UserError."""
    tags = dict.fromkeys(labels.tags)
    for word in text.replace(",", " ").split():
        if word.startswith("-"):
            tags.pop(word[1:].lower(), None)
        else:
            tags.update(dict.fromkeys(read_tags(word)))
    return replace(labels, tags=tuple(tags))


def _label(
    view: RunsView, chosen: Sequence[RunFacts], change: Callable[[Labels], Labels], told: str
) -> None:
    runs = [facts.run for facts in chosen]
    view.runs_place.history.make(Labelling(runs, change, told))


def _write(run: RunDirectory, labels: Labels) -> None:
    change_labels(run, labels.name, labels.note, labels.tags, labels.archived)
