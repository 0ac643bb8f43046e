"""A conversation in a terminal: what is typed, what ctrl-c does, and two answers as they come."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.cells import set_cell_size

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.chat import Chat, Opened
from finetune_tui.core.evidence.conversation import Answer, Conversation, Side, Style
from finetune_tui.core.evidence.keeping import keep_example
from finetune_tui.core.evidence.sampling import SAMPLING, Sampling
from finetune_tui.core.text import plain, plain_lines
from finetune_tui.tui.commands.models import pairs
from finetune_tui.tui.flow import broken
from finetune_tui.tui.output import say

_SIDE_BY_SIDE = 100  # columns
_BETWEEN = " │ "

HELP = """\
/set temperature=0.7    sampling: {names}
/reset                  begin a new conversation
/keep [base|tuned] FILE keep the last answer as an example to train on
/quit                   leave; so does ctrl-d, or ctrl-c twice
\\ at the end of a line goes on with the next; ctrl-c stops an answer"""


class Interrupts:
    """What ctrl-c does: during work it sets `event`, while somebody types it is theirs."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._is_working = True

    def __enter__(self) -> "Interrupts":
        self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def wait(self, seconds: float) -> bool:
        """Whether it was pressed meanwhile."""
        return self.event.wait(seconds)

    @contextlib.contextmanager
    def typing(self) -> Iterator[None]:
        """Meanwhile it raises KeyboardInterrupt, as everywhere."""
        self._is_working = False
        try:
            yield
        finally:
            self._is_working = True
            self.event = threading.Event()

    def _pressed(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_working:
            raise KeyboardInterrupt
        self.event.set()


@dataclass(slots=True)
class Talker:
    """Asks, and tells the answers as they come."""

    chat: Chat
    opened: Opened
    conversation: Conversation
    sampling: Sampling
    sides: Sequence[Side]
    home: Path
    interrupts: Interrupts

    def answer(self, width: int | None) -> None:
        """The last turn's answers, told while they come; side by side where both have room.

        width: columns of the terminal; None: nobody watches, each is told when it is whole.
        """
        if width is not None and width >= _SIDE_BY_SIDE and len(self.sides) == 2:
            columns = _Columns(self.sides, width)
            self.ask(self.sides, columns.show)
            columns.end(self.conversation.turns[-1].answers)
            return
        for side in self.sides:
            if not self.interrupts.event.is_set():
                teller = _Stream(side if width is not None or len(self.sides) > 1 else None)
                self.ask((side,), teller.show)
                teller.end(self.conversation.turns[-1].answers[side], width is not None)

    def ask(
        self, sides: Sequence[Side], tell: Callable[[Side, Answer], None] = lambda _s, _a: None
    ) -> None:
        """Have these sides answer the last turn."""
        turn = self.conversation.turns[-1]
        asked = {side: self.conversation.asked(side) for side in sides}
        turn.answers |= self.chat.ask(asked, self.sampling, tell, self.interrupts.event)

    def talk(self, width: Callable[[], int | None]) -> int:
        """Until the person has enough."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() edits its line and knows the ones before

        was_interrupted = False
        while True:
            try:
                with self.interrupts.typing():
                    text = _typed()
            except EOFError:
                say()
                return 0
            except KeyboardInterrupt:
                if was_interrupted:
                    say()
                    return 0
                was_interrupted = True
                say("\nctrl-c again leaves")
                continue
            was_interrupted = False
            if not text.strip():
                continue
            try:
                if text.startswith("/"):
                    if self._command(text[1:].split()):
                        return 0
                    continue
                self.conversation.say(text)
                self.answer(width())
            except UserError as error:
                say(str(error))
                if self.conversation.turns and not self.conversation.turns[-1].answers:
                    self.conversation.turns.pop()

    def _command(self, words: Sequence[str]) -> bool:
        """What a line with a slash asks for; whether it is to leave."""
        name, *rest = words or ["help"]
        if name in ("quit", "exit", "q"):
            return True
        if name == "reset":
            self.conversation = Conversation(self.conversation.style, self.conversation.system)
            say("a new conversation")
        elif name == "set":
            self.sampling = self.sampling.changed(pairs(rest))
            say(", ".join(f"{key} {value:g}" for key, value in self.sampling.to_json().items()))
        elif name == "keep":
            self._keep(rest)
        else:
            say(HELP.format(names=", ".join(SAMPLING)))
        return False

    def _keep(self, words: Sequence[str]) -> None:
        side = self.sides[-1]
        if words and words[0] in tuple(Side):
            side, words = Side(words[0]), words[1:]
        example = self.conversation.example(side)
        if example is None:
            raise UserError(f"the {side} has no answer to keep")
        kind = "chats" if self.conversation.style is Style.CHAT else "prompts"
        path = Path(" ".join(words)).expanduser() if words else self.home / "kept" / f"{kind}.jsonl"
        rows = keep_example(path.absolute(), example)
        say(f"kept in {path.absolute()}: {'1 example' if rows == 1 else f'{rows} examples'}")


class _Stream:
    """One answer as it comes. side: named above it."""

    def __init__(self, side: Side | None) -> None:
        self._side = side
        self._told = 0

    def show(self, _side: Side, answer: Answer) -> None:
        text = answer.text.lstrip()
        if not text:
            return
        if not self._told and self._side is not None:
            say(f"{self._side}:")
        print(plain_lines(text[self._told :]), end="", flush=True)
        self._told = len(text)

    def end(self, answer: Answer, with_figures: bool) -> None:
        self.show(self._side or Side.TUNED, answer)
        if not self._told and self._side is not None:
            say(f"{self._side}: (no words)")
        say()
        if with_figures:
            say(f"({figures(answer)})\n")
        elif self._side is not None:
            say()


class _Columns:
    """Two answers beside each other: a row is printed when both sides have written past it."""

    def __init__(self, sides: Sequence[Side], width: int) -> None:
        self._sides = sides
        self._width = (width - len(_BETWEEN)) // 2
        self._texts = dict.fromkeys(sides, "")
        self._rows = 0
        self._print([side.value for side in sides])

    def show(self, side: Side, answer: Answer) -> None:
        self._texts[side] = answer.text.lstrip()
        whole = min(len(self._broken(side)) - 1 for side in self._sides)
        self._print_to(whole)

    def end(self, answers: dict[Side, Answer]) -> None:
        for side in self._sides:
            self._texts[side] = answers[side].text.strip() or "(no words)"
        self._print_to(max(len(self._broken(side)) for side in self._sides))
        self._print([f"({figures(answers[side])})" for side in self._sides])
        say()

    def _broken(self, side: Side) -> tuple[str, ...]:
        return broken(self._texts[side], self._width)

    def _print_to(self, end: int) -> None:
        for row in range(self._rows, end):
            texts = [self._broken(side) for side in self._sides]
            self._print([text[row] if row < len(text) else "" for text in texts])
        self._rows = max(self._rows, end)

    def _print(self, texts: Sequence[str]) -> None:
        left, right = texts
        say(f"{set_cell_size(left, self._width)}{_BETWEEN}{right}".rstrip())


def figures(answer: Answer) -> str:
    """'40 tokens, 31 t/s, end token'."""
    parts = ["1 token" if answer.tokens == 1 else f"{answer.tokens} tokens"]
    rate = answer.tokens_per_second
    parts += [f"{rate:.1f} t/s" if rate < 10 else f"{rate:.0f} t/s"] if rate else []
    return ", ".join(parts + ([answer.ended.value] if answer.ended else []))


def introduction(opened: Opened, name: str) -> str:
    """What answers, in a line."""
    step = f" (its checkpoint {opened.step})" if opened.step is not None else ""
    return plain(
        f"{name}{step} of {opened.model} on {opened.device}, {opened.dtype}; /help says more"
    )


def _typed() -> str:
    """A prompt; a line that ends in a backslash goes on with the next."""
    lines: list[str] = []
    mark = "› " if sys.stdout.encoding.lower().startswith("utf") else "> "
    while True:
        text = input(mark if not lines else "  ")
        if not text.endswith("\\"):
            return "\n".join([*lines, text])
        lines.append(text[:-1])
