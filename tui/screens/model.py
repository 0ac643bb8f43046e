"""The Model place: what this machine can do, three ways in, and the models."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import CatalogEntry, catalog
from finetune_tui.core.models.resolve import ModelReference, find_model
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.model_actions import MODEL_ACTIONS
from finetune_tui.tui.screens.model_filters import Filters, filter_line
from finetune_tui.tui.screens.model_lines import (
    Needs,
    best_fit,
    card_lines,
    entry_line,
    head_line,
    machine_lines,
    needs,
)
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, key, line, rule, wrap
from finetune_tui.tui.widgets.status import NARROW

if TYPE_CHECKING:
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.core.models.weights import Cached

_CARD, _LARGE_CARD = 6, 9  # rows
_TALL = 30
_LEAST_FOR_CARD = 16


class ModelPlace(Place):
    """The catalog, a folder of one's own or an id; `d`, `o` and `c` are the ways in."""

    DEFAULT_CSS = """
    ModelPlace #model-head { height: 2; }
    """
    title: ClassVar[str] = "Model"
    about: ClassVar[str] = (
        "Models that this app knows, and what each would take here. Any folder or Hub id opens with f."
    )
    actions: ClassVar[tuple[Action, ...]] = MODEL_ACTIONS

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.filters = Filters()
        self._all = list(catalog().values())
        self._needs: dict[str, Needs] = {}
        self._disk: dict[str, Cached] = {}
        self._listed = self._all
        self._cursor = 0
        self._first: CatalogEntry | None = None  # of the two to compare
        self._not_found = ""  # what was typed and is no model, to be mended

    def compose(self) -> ComposeResult:
        self._ways = Lines(self._make_ways)
        self._head = Lines(self._make_head, id="model-head")
        self._models = Lines(self._make_models)
        self._models.can_focus = True
        self._card = Lines(self._make_card)
        yield from (self._ways, self._head, self._models, self._card)

    def on_shown(self) -> None:
        self._models.focus()
        self.call_after_refresh(self._look_further)

    def _look_further(self) -> None:
        """After the paint: what every model would take, and which are on this disk."""
        names = [entry.id for entry in self._all]
        self.finetune.in_thread(
            lambda: self.services.scan_models(names), self._saw_disk, group="models on disk"
        )
        if not self._needs:
            self.finetune.in_thread(
                lambda: {entry.id: needs(entry) for entry in self._all},
                self._saw_needs,
                group="needs",
            )

    def _saw_disk(self, found: "dict[str, Cached]") -> None:
        self._disk = found
        self.refresh_from_session()

    def _saw_needs(self, found: dict[str, Needs]) -> None:
        self._needs = found
        self.refresh_from_session()

    def refresh_from_session(self) -> None:
        width = self.size.width or self.app.size.width
        self._ways.styles.height = len(self._make_ways(width, 0))
        self._relist()
        for part in (self._ways, self._head, self._models, self._card):
            part.update()

    def on_resize(self) -> None:
        height = self.size.height
        self._card.display = height >= _LEAST_FOR_CARD and self.size.width >= NARROW
        self._card.styles.height = _LARGE_CARD if height >= _TALL else _CARD
        self.refresh_from_session()
        self._models.reveal(self._cursor)

    @property
    def entry(self) -> CatalogEntry | None:
        """The model under the cursor; None when the filters leave none."""
        return self._listed[self._cursor] if self._listed else None

    # Filters

    def action_filter(self, name: str) -> None:
        if name == "words":
            self.action_find()
        else:
            self._filter(self.filters.cycled(name, self._all))

    def action_find(self) -> None:
        def typed(words: str) -> None:
            self._filter(replace(self.filters, words=words.strip()))

        self.finetune.ask("/", typed, value=self.filters.words, typed=typed)

    def _filter(self, filters: Filters) -> None:
        self.filters = filters
        self._relist()
        self.action_move(0)
        self._head.update()

    def _relist(self) -> None:
        """Keep the cursor on its model while that is listed."""
        before = self.entry
        self._listed = [entry for entry in self._all if self.filters.keep(entry, self._fits)]
        ids = [entry.id for entry in self._listed]
        if before and before.id in ids:
            self._cursor = ids.index(before.id)
        self._cursor = min(self._cursor, max(len(ids) - 1, 0))

    def _fits(self, entry: CatalogEntry) -> bool | None:
        best = best_fit(self._needs.get(entry.id), self.session)
        return None if best is None else bool(best)

    def one_level_out(self) -> bool:
        if self._first is not None:
            self._first = None
        elif self.filters.are_set:
            self.filters = Filters()
        else:
            return False
        self.refresh_from_session()
        self._models.reveal(self._cursor)
        return True

    # What is shown

    def _make_ways(self, width: int, _height: int) -> list[Line]:
        lines = [rule(width, ["this machine"]), *machine_lines(self.session, width)]
        lines.append(rule(width, ["start"]))
        if self.finetune.returning and self.finetune.returning.away:
            words = f"while you were away: {self.finetune.returning.away}"
            lines += [line(" ", Span(each, "accent")) for each in wrap(words, width - 2)]
        returning = self.finetune.returning
        last = (returning.last_words or "none yet") if returning else "looking…"
        for name, words, more, action in (
            (
                "d",
                "the demo",
                "trains here in a minute: orders in words become JSON records",
                "model.demo",
            ),
            ("o", "my data", "a JSONL file of text, prompt/completion or messages", "model.data"),
            ("c", "the last run", last, "model.last"),
        ):
            start = line("  ", key(name, "", f"app.perform('{action}')"), f"{words:<13}")
            lines.append(line(start, dim(more)))
        return lines

    def _make_head(self, width: int, _height: int) -> list[Line]:
        shown = len(self._listed)
        number = f"{shown} of {len(self._all)}" if shown < len(self._all) else str(shown)
        return [head_line(width, f"models {number}"), filter_line(self.filters)]

    def _make_models(self, width: int, _height: int) -> list[Line]:
        lines = [
            entry_line(
                entry,
                width,
                index == self._cursor,
                self._mark(entry),
                best_fit(self._needs.get(entry.id), self.session),
                self._disk.get(entry.id),
            )
            for index, entry in enumerate(self._listed)
        ]
        if not lines:
            lines.append(line(dim("   no model is so: esc lists all again")))
        words = "a folder on this disk, or an id on the Hub…"
        lines.append(line("   ", key("f", words, "app.perform('model.folder')")))
        return lines

    def _mark(self, entry: CatalogEntry) -> Span:
        if entry is self._first:
            return Span("x ", "accent")
        opened = self.session.reference
        return Span("● " if opened is not None and opened.name == entry.id else "  ", "good")

    def _make_card(self, width: int, height: int) -> list[Line]:
        entry = self.entry
        if entry is None:
            return [rule(width, [])]
        found, disk = self._needs.get(entry.id), self._disk.get(entry.id)
        return card_lines(entry, self.session, found, disk, width)[:height]

    # Moving

    def action_move(self, by: int) -> None:
        self._cursor = max(min(self._cursor + by, len(self._listed) - 1), 0)
        self._models.update()
        is_last = self._cursor == len(self._listed) - 1
        self._models.reveal(self._cursor + (1 if is_last else 0))
        self._models.reveal(self._cursor)
        self._card.update()

    def action_page(self, by: int) -> None:
        self.action_move(by * max(self._models.size.height - 1, 1))

    @on(Lines.Clicked)
    def _clicked(self, event: Lines.Clicked) -> None:
        if event.action.startswith("filter("):
            self.action_filter(event.action[7:-1])
        elif event.lines is self._models and event.index < len(self._listed):
            again = event.index == self._cursor
            self.action_move(event.index - self._cursor)
            if again:
                self.action_open()

    # Choosing

    def action_open(self) -> None:
        if self.entry is not None:
            self._open(find_model(self.entry.id))

    def action_demo(self) -> None:
        self._open(find_model("demo"))

    def action_folder(self) -> None:
        self.finetune.ask("folder or Hub id", self._open_named, self._not_found, path=True)

    def _open_named(self, name: str) -> None:
        if not name:
            return
        self._not_found = ""
        try:
            self._open(find_model(str(Path(name).expanduser()) if name[0] == "~" else name))
        except UserError as error:
            self._not_found = name
            self.finetune.say_error(error)

    def _open(self, reference: ModelReference) -> None:
        from finetune_tui.core.tuning.spec import demo_spec

        self.finetune.opening.model(reference, demo_spec() if reference.kind == "demo" else None)

    async def action_last_run(self) -> None:
        returning = self.finetune.returning
        if returning is None or returning.last is None:
            self.finetune.say("there is no run yet: d starts with the demo")
            return
        self.session.monitored = returning.live or returning.last
        await self.finetune.action_show_place("train")

    def action_copy(self) -> None:
        if self.entry is not None:
            self.finetune.copy(self.entry.id)

    # Reading

    def action_report(self) -> None:
        entry = self.entry
        if entry is not None:
            title = f"report: {entry.title}"
            self.finetune.read(title, lambda: _report(self._manifest(entry)))

    def action_difference(self) -> None:
        """The first press keeps this model; the second shows how another differs from it."""
        entry, first = self.entry, self._first
        if entry is None:
            return
        if first is None:
            self._first = entry
            self.finetune.say(f"x on another model shows how it differs from {entry.title} · esc")
        elif first is entry:
            self._first = None
            self.finetune.say("nothing differs from itself: x again on two models")
        else:
            self._first = None
            title = f"difference: {first.title} and {entry.title}"
            self.finetune.read(
                title, lambda: _difference(self._manifest(first), self._manifest(entry))
            )
        self._models.update()

    def _manifest(self, entry: CatalogEntry) -> "Manifest":
        return self.services.load_manifest(find_model(entry.id))


def _report(manifest: "Manifest") -> str:
    from finetune_tui.core.models.report import report

    return report(manifest)


def _difference(a: "Manifest", b: "Manifest") -> str:
    from finetune_tui.core.models.difference import difference, difference_report

    return difference_report(difference(a, b))
