"""When a run ends: the person's own command, and how its last test went."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult

from finetune_tui.core.runs.hook import HookResult, last_test
from finetune_tui.core.text import duration, plain
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.runs_view import RunsView, back_key
from finetune_tui.tui.widgets.lines import Line, Lines, Span, dim, key, line, rule, strong, wrap

_EXAMPLE = """curl -d "$FINETUNE_TUI_WORDS" https://ntfy.sh/my-runs"""
_FACTS = (
    ("WORDS", "all of it in one line"),
    ("STATUS", "finished, stopped, failed, killed"),
    ("WHY", "in words, when it did not finish"),
    ("ID, NAME, RUN", "of the run, and its folder"),
    ("MODEL, PRESET", "what was trained"),
    ("STEP, TOTAL_STEPS, SECONDS", "how far it came"),
    ("EVAL_LOSS", "the last held-out loss"),
    ("BEST_EVAL_LOSS, BEST_STEP", "the lowest, and when"),
    ("ADAPTER", "the folder of the result"),
)
_action = ActionGroup("on_end", "when a run ends")

ON_END_ACTIONS = (
    _action("test", "t", "test it", "run the command now, as if a run had ended", footer=True),
    _action("change", "enter", "change", "another command, or none", footer=True),
    _action("down", "j down", "down", "down a line", "move(1)"),
    _action("up", "k up", "up", "up a line", "move(-1)"),
)


@dataclass(frozen=True, slots=True)
class _Hook:
    command: str | None
    path: Path
    tested: HookResult | None
    problems: tuple[str, ...]
    now: float


class OnEndView(RunsView):
    """Reads the settings when it is shown."""

    title: ClassVar[str] = "When a run ends"
    actions: ClassVar[tuple[Action, ...]] = ON_END_ACTIONS

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown = Lines(self._lines, id="on-end")
        self._hook: _Hook | None = None
        self._is_testing = False

    def compose(self) -> ComposeResult:
        yield self._shown

    def on_shown(self) -> None:
        self.focus()
        self._read()

    def _read(self) -> None:
        services = self.services

        def read() -> _Hook:
            settings = services.read_settings()
            command = settings.on_end
            tested = last_test(services.home, command) if command else None
            return _Hook(command, settings.path, tested, settings.problems, services.clock())

        def have_read(hook: _Hook) -> None:
            self._hook = hook
            self._redraw()
            self.refresh_bindings()

        self.finetune.in_thread(read, have_read, "command on end")

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        if action == "test":
            return self._hook is not None and bool(self._hook.command) and not self._is_testing
        return True

    def _redraw(self) -> None:
        self._shown.update()

    def _lines(self, width: int, _height: int) -> Sequence[Line]:
        lines = [rule(width, [line(strong("when a run ends"))], [back_key()])]
        hook = self._hook
        if hook is None:
            return [*lines, line(dim(" reading the settings…"))]
        if hook.command:
            told = wrap(plain(hook.command, 2000), width - 4)
            lines += [line("   ", strong(words)) for words in told]
            lines.append(())
            lines += _test_lines(hook, self._is_testing, width)
        else:
            for words in wrap(
                "nothing is run: choose a command that tells you, for example", width - 2
            ):
                lines.append(line(f" {words}"))
            lines += [line("   ", dim(words)) for words in wrap(_EXAMPLE, width - 4)]
        lines.append(())
        keys = [key("enter", "change it" if hook.command else "choose one", "change")]
        if hook.command:
            keys.insert(0, key("t", "test it", "test"))
        lines.append(line(" ", *(part for one in keys for part in (one, "   "))))
        lines += [line(" ", Span(words, "warn")) for words in _wrapped(hook.problems, width - 2)]
        return [*lines, *_help_lines(hook, width)]

    # What the keys do

    def action_move(self, by: int) -> None:
        to = self._shown.scroll_offset.y + by
        self._shown.scroll_to(y=to, animate=False, force=True, immediate=True)

    def action_change(self) -> None:
        if self._hook is None:
            return

        def answered(command: str) -> None:
            self.finetune.in_thread(
                lambda: self.services.change_setting("on_end", command or None),
                lambda _: self._read(),
                "change of settings",
            )

        self.finetune.ask("command", answered, self._hook.command or "")

    def action_test(self) -> None:
        command = self._hook.command if self._hook else None
        if not command or self._is_testing:
            return
        self._is_testing = True
        self._redraw()
        self.refresh_bindings()

        def ended() -> None:
            self._is_testing = False
            self._read()

        def failed(error: Exception) -> None:
            self.finetune.say(str(error), wrong=True)
            ended()

        self.finetune.in_thread(
            lambda: self.services.try_hook(command), lambda _: ended(), "test of the hook", failed
        )

    async def on_lines_clicked(self, message: Lines.Clicked) -> None:
        message.stop()
        if message.action:
            await self.run_action(message.action)


def _test_lines(hook: _Hook, is_testing: bool, width: int) -> list[Line]:
    """When it was last tested, and how that went."""
    if is_testing:
        return [line(" ", Span("being tested…", "accent"))]
    tested = hook.tested
    if tested is None:
        return [line(" ", Span("! ", "warn"), "never tested")]
    ago = duration(max(hook.now - tested.time, 0))
    mark = Span("✓ ", "good") if tested.ok else Span("✗ ", "bad")
    first, *rest = wrap(plain(f"tested {ago} ago: {tested.words}", 400), width - 4)
    return [line(" ", mark, first), *(line("   ", words) for words in rest)]


def _help_lines(hook: _Hook, width: int) -> list[Line]:
    """What the command may ask for, and where it is kept."""
    lines: list[Line] = [(), rule(width, [line(dim("what it finds in its environment"))])]
    names = max(len(name) for name, _ in _FACTS) + 2
    for name, words in _FACTS:
        if names + len(words) + 14 <= width:
            lines.append(line(dim(" FINETUNE_TUI_"), f"{name:<{names}}", dim(words)))
        else:
            lines += [line(dim(" FINETUNE_TUI_"), name), line(dim(f"   {words}"))]
    lines.append(())
    words = f"It runs once for each run, whether this app is open or not; kept in {plain(str(hook.path))}"
    return lines + [line(dim(f" {text}")) for text in wrap(words, width - 2)]


def _wrapped(texts: Sequence[str], width: int) -> list[str]:
    return [words for text in texts for words in wrap(plain(text, 400), width)]
