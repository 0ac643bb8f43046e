"""The frame's lines: places and machine on top, the status below them, the keys at the bottom."""

from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.widget import Widget

from finetune_tui.core.text import count, percent, plain, size
from finetune_tui.tui.actions import Action

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp

_NARROW = 60


class _Line(Widget):
    """One line of text, repainted in place."""

    DEFAULT_CSS = """
    _Line { height: 1; width: 1fr; }
    """
    COMPONENT_CLASSES = {"line--strong", "line--muted", "line--line", "line--good", "line--bad"}

    @property
    def finetune(self) -> "FinetuneApp":
        return cast("FinetuneApp", self.app)

    def refresh_from_session(self) -> None:
        self.refresh()


class Rule(Widget):
    """A thin line across."""

    DEFAULT_CSS = """
    Rule { height: 1; width: 1fr; color: $line; }
    """

    def render(self) -> Text:
        return Text("─" * self.size.width)


class Masthead(_Line):
    """`1Model [2Layers] 3Data …` and, on the right, the live run or the GPU."""

    def render(self) -> Text:
        line = Text(no_wrap=True, overflow="crop")
        for _, words in self._tabs():
            line.append(words)
        right = self._right()
        room = self.size.width - cell_len(line.plain) - 1
        if cell_len(right) <= room:
            line.append(" " * (room - cell_len(right)) + right)
        return line

    def _tabs(self) -> list[tuple[str, str]]:
        from finetune_tui.tui.app import PLACES

        tabs = []
        for number, name in enumerate(PLACES, start=1):
            front = name == self.finetune.place_name
            full = self.size.width >= _NARROW or front
            word = f"{number}{name.capitalize()}" if full else str(number)
            tabs.append((name, f"[{word}]" if front else f" {word} "))
        return tabs

    def _right(self) -> str:
        gpu = self.finetune.session.gpu
        if gpu is not None:
            return plain(f"GPU{gpu.index} {gpu.name or ''}", 30)
        return "no GPU" if self.finetune.session.hardware else ""

    async def on_click(self, event: events.Click) -> None:
        end = 0
        for name, words in self._tabs():
            end += cell_len(words)
            if event.x < end:
                await self.finetune.action_show_place(name)
                return


class StatusLine(_Line):
    """Model · preset · precision · trainable · memory."""

    def render(self) -> Text:
        session = self.finetune.session
        if session.manifest is None:
            return Text(" no model open")
        parts = [session.title or "", session.preset or "by hand"]
        if session.precision:
            parts.append(session.precision.value)
        total = session.manifest.parameters
        parts.append(f"{count(session.trainable)} {percent(session.trainable, total)}")
        if session.estimate:
            parts.append(size(session.estimate.device))
        return Text(" " + " · ".join(parts), no_wrap=True, overflow="ellipsis")


class Footline(_Line):
    """The keys that work here, or words to the person until the next key."""

    def __init__(self) -> None:
        super().__init__()
        self._words: tuple[str, bool] | None = None

    def say(self, words: str, wrong: bool) -> None:
        self._words = (plain(words), wrong)
        self.refresh()

    def hush(self) -> None:
        if self._words is not None:
            self._words = None
            self.refresh()

    def render(self) -> Text:
        if self._words is not None:
            return Text(" " + self._words[0], no_wrap=True, overflow="ellipsis")
        line = Text(" ", no_wrap=True, overflow="crop")
        for action in self._actions():
            line.append(f"{action.key_words} {action.words}  ")
        return line

    def _actions(self) -> list[Action]:
        place = self.finetune.place
        own = place.actions if place else ()
        return [action for action in (*own, *self.finetune.actions) if action.footer]
