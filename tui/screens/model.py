"""The Model place: what this machine can do, three ways in, and the models."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import CatalogEntry, catalog
from finetune_tui.core.models.resolve import ModelReference, find_model
from finetune_tui.core.text import count, plain, size
from finetune_tui.tui.actions import Action
from finetune_tui.tui.screens.place import Place
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, key, line, rule, strong, wrap
from finetune_tui.tui.widgets.status import NARROW

if TYPE_CHECKING:
    from finetune_tui.core.doctor import Finding

_G = "model"
MODEL_ACTIONS = (
    Action(
        "model.open",
        ("enter", "l", "right"),
        "open",
        "open the model and see its layers",
        _G,
        "open",
        True,
        "⏎",
    ),
    Action(
        "model.demo", ("d",), "demo", "open the built-in demo, ready to train", _G, "demo", True
    ),
    Action(
        "model.data", ("o",), "my data", "choose a data file to train on", _G, "app.open_data", True
    ),
    Action(
        "model.last", ("c",), "last run", "watch or continue the last run", _G, "last_run", True
    ),
    Action(
        "model.folder",
        ("f",),
        "folder",
        "open a model from a folder on this disk",
        _G,
        "folder",
        True,
    ),
    Action("model.down", ("j", "down"), "down", "next model", _G, "move(1)"),
    Action("model.up", ("k", "up"), "up", "model before", _G, "move(-1)"),
    Action("model.top", ("g", "home"), "top", "first model", _G, "move(-1000000)"),
    Action(
        "model.bottom",
        ("G", "shift+g", "end"),
        "bottom",
        "last model",
        _G,
        "move(1000000)",
        shown="G end",
    ),
    Action("model.copy", ("y",), "copy", "copy the model's name", _G, "copy"),
)

_DETAILS = 5


class ModelPlace(Place):
    """The catalog and a folder of one's own; `d`, `o` and `c` are the ways in."""

    DEFAULT_CSS = """
    ModelPlace #model-details { height: 6; }
    """
    title: ClassVar[str] = "Model"
    actions: ClassVar[tuple[Action, ...]] = MODEL_ACTIONS

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries = list(catalog().values())
        self._cursor = 0

    def compose(self) -> ComposeResult:
        self._ways = Lines(self._make_ways)
        self._models = Lines(self._make_models)
        self._models.can_focus = True
        self._details = Lines(self._make_details, id="model-details")
        yield self._ways
        yield self._models
        yield self._details

    def on_mount(self) -> None:
        self._details.styles.height = _DETAILS + 1

    def on_shown(self) -> None:
        self._models.focus()

    def refresh_from_session(self) -> None:
        width = self.size.width or self.app.size.width
        self._ways.styles.height = len(self._make_ways(width, 0))
        for part in (self._ways, self._models, self._details):
            part.update()

    def on_resize(self) -> None:
        self._details.display = self.size.height >= 16 and self.size.width >= NARROW
        self.refresh_from_session()

    @property
    def entry(self) -> CatalogEntry:
        """The model under the cursor."""
        return self._entries[self._cursor]

    # What is shown

    def _make_ways(self, width: int, _height: int) -> list[Line]:
        lines = [rule(width, ["this machine"]), *machine_lines(self.session, width)]
        lines.append(rule(width, ["start"]))
        if self.finetune.returning and self.finetune.returning.away:
            words = f"while you were away: {self.finetune.returning.away}"
            lines += [line(" ", Span(each, "accent")) for each in wrap(words, width - 2)]
        last = self.finetune.returning.last_words if self.finetune.returning else None
        for name, words, more, action in (
            (
                "d",
                "the demo",
                "trains here in a minute: orders in words become JSON records",
                "model.demo",
            ),
            ("o", "my data", "a JSONL file of text, prompt/completion or messages", "model.data"),
            ("c", "the last run", last or "none yet", "model.last"),
        ):
            start = line("  ", key(name, "", f"app.perform('{action}')"), f"{words:<13}")
            lines.append(line(start, dim(more)))
        return lines

    def _make_models(self, width: int, _height: int) -> list[Line]:
        wide = width >= 72
        head = (
            line(dim(f"{'PARAMS':>7}{'BLOCKS':>8}{'CONTEXT':>9}  {'KIND':<9}{'LICENCE':<12}"))
            if wide
            else line(dim("PARAMS"))
        )
        room = min(width - (48 if wide else 10), 50)
        lines = [line(rule(room, ["models"]), head)]
        opened = self.session.reference
        for index, entry in enumerate(self._entries):
            at_cursor = index == self._cursor
            is_open = opened is not None and opened.name == entry.id
            name = plain(entry.title, room - 3)
            numbers = f"{count(entry.parameters):>7}"
            if wide:
                context = count(entry.context) if entry.context else "?"
                licence = plain(entry.licence, 12)
                numbers += f"{entry.blocks:>8}{context:>9}  {entry.kind:<9}{licence:<12}"
            lines.append(
                line(
                    Span("▌" if at_cursor else " ", "accent"),
                    Span("● " if is_open else "  ", "good"),
                    Span(f"{name:<{room - 3}}", "strong" if at_cursor else ""),
                    numbers,
                )
            )
        lines.append(line("   ", key("f", "a folder on this disk…", "app.perform('model.folder')")))
        return lines

    def _make_details(self, width: int, height: int) -> list[Line]:
        entry = self.entry
        lines = [rule(width, [line(strong(plain(entry.title))), plain(entry.id)])]
        lines += [line(" ", words) for words in wrap(plain(entry.advice), width - 2)]
        lines += [line(" ", facts) for facts in _facts(entry)]
        lines += _fit_lines(entry, self.session)
        return lines[:height]

    # Choosing

    def action_move(self, by: int) -> None:
        self._cursor = min(max(self._cursor + by, 0), len(self._entries) - 1)
        self._models.update()
        self._models.reveal(self._cursor + 1)
        self._details.update()

    @on(Lines.Clicked)
    def _clicked(self, event: Lines.Clicked) -> None:
        if event.lines is self._models and 0 < event.index <= len(self._entries):
            again = event.index - 1 == self._cursor
            self.action_move(event.index - 1 - self._cursor)
            if again:
                self.action_open()

    def action_open(self) -> None:
        self._open(find_model(self.entry.id))

    def action_demo(self) -> None:
        self._open(find_model("demo"))

    def action_folder(self) -> None:
        self.finetune.ask("model folder", self._open_folder, path=True)

    def _open_folder(self, name: str) -> None:
        if not name:
            return
        try:
            self._open(find_model(str(Path(name).expanduser())))
        except UserError as error:
            self.finetune.say_error(error)

    def _open(self, reference: ModelReference) -> None:
        from finetune_tui.core.tuning.spec import demo_spec

        self.finetune.open_model(reference, demo_spec() if reference.kind == "demo" else None)

    async def action_last_run(self) -> None:
        returning = self.finetune.returning
        if returning is None or returning.last is None:
            self.finetune.say("there is no run yet: d starts with the demo")
            return
        self.session.monitored = returning.live or returning.last
        await self.finetune.action_show_place("train")

    def action_copy(self) -> None:
        self.finetune.copy_to_clipboard(self.entry.id)
        self.finetune.say(f"copied {self.entry.id}")


def machine_lines(session: Session, width: int) -> list[Line]:
    """`GPU0 RTX 4090 24.0G ✓  PyTorch 2.9 ✓  Hub login ✗  disk 41G ✓`, then what is wrong and its fix."""
    if session.findings is None and session.hardware is None:
        return [line(dim(" looking at this machine…"))]
    found = [_gpu_item(session), *(_item(finding) for finding in session.findings or ())]
    lines: list[Line] = [line(" ")]
    for item in found:
        if item and sum(len(span.text) for span in (*lines[-1], *item)) + 3 > width:
            lines.append(line(" "))
        lines[-1] = line(lines[-1], item, "   " if item else "")
    if session.findings is None:
        lines[-1] = line(lines[-1], dim("PyTorch …"))
    for finding in session.findings or ():
        if finding.ok is False and finding.fix:
            words = f"{finding.name}: {finding.words}; {finding.fix}"
            lines += [line(" ", Span(each, "warn")) for each in wrap(plain(words, 300), width - 2)]
    return lines


def _gpu_item(session: Session) -> Line:
    if session.hardware is None:
        return line()
    if session.gpu is None:
        return line("no GPU ", Span("!", "warn"), dim(" the demo needs none"))
    total = f" {size(session.gpu.total)}" if session.gpu.total else ""
    name = plain(session.gpu.name or "", 30).removeprefix("NVIDIA ").removeprefix("GeForce ")
    mark = Span("✗", "bad") if session.gpu.error else Span("✓", "good")
    return line(f"GPU{session.gpu.index} {name}{total} ", mark)


def _item(finding: "Finding") -> Line:
    if finding.name not in ("PyTorch", "disk", "memory", "Hub login") and finding.ok is not False:
        return line()
    if finding.name == "GPU":
        return line()
    mark = {True: Span("✓", "good"), False: Span("✗", "bad"), None: dim("–")}[finding.ok]
    words = (
        finding.words.partition(",")[0]
        if finding.name in ("PyTorch", "disk") and finding.ok
        else ""
    )
    return line(finding.name, f" {plain(words, 20)} " if words else " ", mark)


def _facts(entry: CatalogEntry) -> list[Line]:
    if not entry.tokens_seen:
        return []
    ratio = entry.tokens_seen / entry.parameters
    words = f"saw {count(entry.tokens_seen)} tokens, {ratio:.0f} for each parameter"
    sources = f"  {', '.join(entry.sources)}" if entry.sources else ""
    return [line(words, dim(sources))]


def _fit_lines(entry: CatalogEntry, session: Session) -> list[Line]:
    """What training would take at each precision."""
    parts: list[Span | str] = [" "]
    for name, device, fits in _needs(entry, session.free_bytes):
        verdict = {True: Span(" fits", "good"), False: Span(" NO", "bad"), None: Span("")}[fits]
        parts += [dim(f"{name} "), size(device), verdict, "   "]
    return [line(dim(" memory to train structured-output with the defaults:")), line(*parts)]


@cache
def _needs(entry: CatalogEntry, free: int | None) -> list[tuple[str, int, bool | None]]:
    from finetune_tui.core.memory.estimate import estimate_all, fits
    from finetune_tui.core.tuning.presets import resolve_preset
    from finetune_tui.core.tuning.spec import Spec, demo_spec

    manifest = entry.manifest()
    selection = resolve_preset("structured-output", manifest).selection
    spec = demo_spec() if entry.kind == "demo" else Spec()
    found = estimate_all(manifest, selection, spec)
    return [(precision.value, each.device, fits(each, free)) for precision, each in found.items()]
