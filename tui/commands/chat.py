"""chat: ask a trained run beside its base: in a terminal, in a pipe, or once."""

import argparse
import os
import sys
import time
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.chat import ChatProcess, Opened, Where
from finetune_tui.core.evidence.chat_room import ChatRoom, chat_room
from finetune_tui.core.evidence.conversation import BOTH, Conversation, Side, Style
from finetune_tui.core.evidence.held_out import trained_style
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.runs.directory import RunDirectory, list_runs
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.targets import find_target
from finetune_tui.tui.commands.models import pairs
from finetune_tui.tui.commands.talking import Interrupts, Talker, introduction
from finetune_tui.tui.output import ProgressLine, on_terminal, say, say_json

_LOOK_EVERY = 5.0  # seconds
_CANCELLED = 130  # what a shell says of a command that ctrl-c ended
_LARGEST_PROMPT = 2**24  # bytes from a pipe


def chat(options: argparse.Namespace) -> int:
    """Answer one prompt, or talk until `/quit`."""
    home = find_home(options.home)
    run = find_target(home, options.run)
    sampling = Sampling().changed(pairs(options.set))
    prompt = _prompt(options)
    if prompt is None and options.json:
        raise UserError("--json answers one prompt", hint="give --prompt, or the prompt on stdin")
    conversation = Conversation(_style(options, run), options.system)
    opening = _Opening(run, _where(options), home, options.wait, tells=not options.json)
    model = ChatProcess()
    try:
        with Interrupts() as interrupts:
            opened = opening.open(model, interrupts)
            if opened is None:
                return _CANCELLED
            talker = Talker(
                model, opened, conversation, sampling, _sides(options), home, interrupts
            )
            if prompt is None:
                say(introduction(opened, run.short_id))
                return talker.talk(_width)
            conversation.say(prompt)
            if options.json:
                _answer_in_json(talker, run)
            else:
                talker.answer(_width())
            return _CANCELLED if interrupts.event.is_set() else 0
    finally:
        model.close()


def _answer_in_json(talker: Talker, run: RunDirectory) -> None:
    talker.ask(talker.sides)
    turn, opened = talker.conversation.turns[-1], talker.opened
    say_json(
        {
            "run": run.id,
            "model": opened.model,
            "step": opened.step,
            "device": opened.device,
            "dtype": opened.dtype,
            "style": talker.conversation.style.value,
            "system": talker.conversation.system,
            "prompt": turn.said,
            "sampling": talker.sampling.to_json(),
            "answers": {side.value: turn.answers[side].to_json() for side in talker.sides},
        }
    )


def _sides(options: argparse.Namespace) -> tuple[Side, ...]:
    if options.base_only:
        return (Side.BASE,)
    return (Side.TUNED,) if options.tuned_only else BOTH


def _where(options: argparse.Namespace) -> Where:
    if options.cpu:
        return Where(use_cpu=True)
    return Where(use_cpu=False, gpu=options.gpu) if options.gpu else Where()


def _prompt(options: argparse.Namespace) -> str | None:
    """The one that was given; None where a person shall be asked."""
    if options.prompt is not None:
        text = str(options.prompt)
    elif not sys.stdin.isatty():
        text = sys.stdin.buffer.read(_LARGEST_PROMPT).decode("utf-8", "replace")
        text = text.removesuffix("\n")
    else:
        return None
    if not text.strip():
        raise UserError("the prompt is empty", hint="give --prompt, or the prompt on stdin")
    return text


def _style(options: argparse.Namespace, run: RunDirectory) -> Style:
    """As the rows of the run put a prompt, unless something else is asked for."""
    if options.style:
        return Style(options.style)
    return Style.CHAT if options.system else trained_style(run) or Style.CHAT


def _width() -> int | None:
    return os.get_terminal_size().columns if on_terminal() else None


class _Opening:
    """Loads the model where there is room for it, or waits for that. tells: how far it is."""

    def __init__(
        self, run: RunDirectory, where: Where, home: Path, waits: bool, tells: bool
    ) -> None:
        self._run, self._where, self._home = run, where, home
        self._waits, self._tells = waits, tells
        self._line = ProgressLine()

    def open(self, model: ChatProcess, interrupts: Interrupts) -> Opened | None:
        """None when ctrl-c came first. Raises UserError when there is no room, or it cannot be loaded."""
        try:
            room = self._room()
            while room.fits is False:
                if not self._waits:
                    raise UserError(
                        f"no room for the model: {room.words}",
                        hint="--wait waits for it, --cpu answers there, --gpu UUID on another GPU",
                    )
                self._show(f"waiting: {room.words}; ctrl-c leaves")
                if interrupts.wait(_LOOK_EVERY):
                    return None
                room = self._room()
            return self._load(model, interrupts)
        finally:
            self._line.clear()

    def _room(self) -> ChatRoom:
        return chat_room(self._run, self._where, read_hardware(self._home), list_runs(self._home))

    def _load(self, model: ChatProcess, interrupts: Interrupts) -> Opened | None:
        begun = time.monotonic()
        self._show("starting torch")

        def tell(words: str) -> None:
            self._show(f"{words} {time.monotonic() - begun:.0f}s")

        try:
            return model.open(self._run, self._where, tell, interrupts.event)
        except UserError:
            if interrupts.event.is_set():
                return None
            raise

    def _show(self, words: str) -> None:
        if self._tells:
            self._line.show(words)
