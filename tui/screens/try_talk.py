"""Talking with one run beside the screen: its model is loaded once, then answers token by token."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from textual.timer import Timer

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.chat import Chat, Opened, Where
from finetune_tui.core.evidence.conversation import BOTH, Answer, Conversation, Side, Turn
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.tui.threads import on_this_thread

if TYPE_CHECKING:
    from finetune_tui.core.evidence.chat_room import ChatRoom
    from finetune_tui.tui.screens.place import Place as Screen

_DRAW_EVERY = 0.1  # seconds: as often as the eye needs, and a thin wire bears
_LOOK_EVERY = 5.0  # seconds between two looks at a GPU that is waited for
_IDLE = 15 * 60.0  # seconds without a question, after which the memory is given back


class Stage(StrEnum):
    """Where it stands."""

    EMPTY = "nothing loaded"
    LOADING = "loading"
    BUSY = "no room"
    WAITING = "waiting"
    READY = "ready"
    ANSWERING = "answering"
    FAILED = "failed"


@dataclass(slots=True)
class TalkState:
    """What the screen shows of it. words: while it loads. room: why it does not, where that is known.

    error: of the last try to load, or to answer. since: when it was last asked something.
    """

    stage: Stage = Stage.EMPTY
    words: str = ""
    opened: Opened | None = None
    room: "ChatRoom | None" = None
    error: UserError | None = None
    since: float = 0.0


class Talk:
    """Asks the services, and keeps the conversation. changed: called on the screen's thread, at most ten
    times a second while an answer comes.
    """

    def __init__(self, screen: "Screen", changed: Callable[[], object]) -> None:
        self._screen = screen
        self._changed = changed
        self._chat: Chat | None = None
        self._cancelled = threading.Event()
        self._is_wanted = False  # an answer, as soon as the model is there
        self._is_dirty = False
        self._is_looking = False  # for room, before anything is loaded
        self._drawing: Timer | None = None
        self._counted = 0.0  # when figures were taken, by the clock that never goes back
        self._figures: dict[Side, Answer] = {}
        self.run: RunDirectory | None = None
        self.where = Where()
        self.sampling = Sampling()
        self.sides: Sequence[Side] = BOTH
        self.conversation = Conversation()
        self.state = TalkState()

    def start(self) -> None:
        """Call when the screen is there."""
        self._drawing = self._screen.set_interval(_DRAW_EVERY, self._draw, pause=True)
        self._screen.set_interval(_LOOK_EVERY, self.look_again)

    def leave(self) -> None:
        """Call when the screen goes: what is held is given back."""
        self._cancelled.set()
        if self._chat is not None:
            self._chat.close()

    @property
    def is_busy(self) -> bool:
        """Whether something goes on that can be stopped."""
        return self.state.stage in (Stage.LOADING, Stage.WAITING, Stage.ANSWERING)

    @property
    def is_answering(self) -> bool:
        return self.state.stage is Stage.ANSWERING

    @property
    def last(self) -> Turn | None:
        turns = self.conversation.turns
        return turns[-1] if turns else None

    # What is asked, and where

    def choose(self, run: RunDirectory) -> None:
        """Talk with another run, from the beginning."""
        if run == self.run:
            return
        self.stop()
        self.run = run
        self.conversation = Conversation(self.conversation.style)
        self.free()

    def move(self, where: Where) -> None:
        """Answer there from now on; what was wanted is asked there at once."""
        is_wanted = self._is_wanted or self.state.stage in (Stage.BUSY, Stage.FAILED)
        self.stop()
        self.where = where
        self.free()
        self._is_wanted = is_wanted and self._is_open
        if self._is_wanted:
            self.open()

    def ask(self) -> None:
        """Have the last turn answered; the model is loaded first when it is not."""
        self._is_wanted = True
        if self.state.stage is Stage.READY:
            self._answer()
        else:
            self.open()

    def again(self) -> None:
        """Ask the last turn again; where an answer is drawn, with the next seed."""
        if self.last is None or self.is_busy:
            return
        if not self.sampling.is_greedy and self.last.answers:
            self.sampling = replace(self.sampling, seed=self.sampling.seed + 1)
        self.last.answers = {}
        self.ask()

    def open(self) -> None:
        """Have the model loaded, if there is room for it."""
        if self.run is None or self.is_busy or self.state.stage is Stage.READY:
            return
        self._become(Stage.LOADING, words="looking for room")
        self._look(self.run, self.where)

    def wait(self) -> None:
        """Look again and again whether there is room, then load."""
        if self.state.stage is Stage.BUSY:
            self._is_wanted = self._is_open
            self.state.stage = Stage.WAITING
            self._changed()

    def stop(self) -> bool:
        """End what goes on; False when nothing does."""
        if not self.is_busy:
            return False
        self._is_wanted = False
        self._cancelled.set()
        if self.state.stage is Stage.WAITING:
            self._become(Stage.BUSY, room=self.state.room)
        elif self._is_looking:
            self._is_looking = False
            self._become(Stage.EMPTY)
        return True

    def free(self) -> None:
        """Give back the memory of the model."""
        chat, self._chat = self._chat, None
        if chat is not None:
            self._screen.finetune.in_thread(chat.close, lambda _: None, "freeing")
        self._become(Stage.EMPTY)

    # Beside the screen

    def _look(self, run: RunDirectory, where: Where) -> None:
        is_waiting = self.state.stage is Stage.WAITING
        self._is_looking = not is_waiting

        def looked(room: "ChatRoom") -> None:
            is_asked = self._is_looking or self.state.stage is Stage.WAITING
            self._is_looking = False
            if not is_asked or (run, where) != (self.run, self.where):
                return
            if room.fits is False:
                self._become(Stage.WAITING if is_waiting else Stage.BUSY, room=room)
            else:
                self._load(run, where)

        services = self._screen.services
        self._screen.finetune.in_thread(
            lambda: services.chat_room(run, where), looked, "room of Try", self._have_failed
        )

    def look_again(self) -> None:
        """What happens every few seconds: room is waited for; a model that nobody asks, or that is in the
        way of a run that starts, is let go of.
        """
        if self.state.stage is Stage.WAITING and self.run is not None:
            self._look(self.run, self.where)
        if self.state.stage is not Stage.READY:
            return
        if self._screen.services.clock() - self.state.since > _IDLE:
            self._let_go("nobody asked for a quarter of an hour")
        elif self.state.opened and self.state.opened.bytes:
            self._give_way()

    def _give_way(self) -> None:
        services = self._screen.services

        def look() -> str | None:
            from finetune_tui.core.evidence.chat_room import starting_on_gpu

            return starting_on_gpu(services.list_runs(), services.clock())

        def looked(name: str | None) -> None:
            if name and self.state.stage is Stage.READY:
                self._let_go(f"{name} starts on a GPU")

        self._screen.finetune.in_thread(look, looked, "runs beside Try")

    def _let_go(self, why: str) -> None:
        self.free()
        self._screen.finetune.say(
            f"{why}: the model of Try was let go of; the next prompt loads it"
        )

    def _load(self, run: RunDirectory, where: Where) -> None:
        services = self._screen.services
        chat = self._chat = self._chat or services.chat()
        cancelled = self._cancelled = threading.Event()
        self._become(Stage.LOADING, words="starting torch")
        said = on_this_thread(self._have_said)

        def loaded(opened: Opened) -> None:
            if chat is not self._chat:
                return
            self._become(Stage.READY, opened=opened)
            if self._is_wanted:
                self._answer()

        def failed(error: UserError) -> None:
            if chat is self._chat:
                self._have_failed(error, was_cancelled=cancelled.is_set())

        self._screen.finetune.in_thread(
            lambda: chat.open(run, where, said, cancelled), loaded, "talk", failed
        )

    def _have_said(self, words: str) -> None:
        if self.state.stage is Stage.LOADING:
            self.state.words = words
            self._is_dirty = True

    def _answer(self) -> None:
        turn, chat = self.last, self._chat
        self._is_wanted = False
        if turn is None or chat is None:
            return
        cancelled = self._cancelled = threading.Event()
        asked = {side: self.conversation.asked(side) for side in self.sides}
        turn.answers = {side: Answer() for side in self.sides}
        self._figures = {}
        sampling, opened = self.sampling, self.state.opened
        self._become(Stage.ANSWERING, opened=opened)

        def hear(side: Side, answer: Answer) -> None:
            if turn.answers.get(side, answer).ended is None:
                turn.answers[side] = answer
                self._is_dirty = True

        heard = on_this_thread(hear)

        def answered(answers: dict[Side, Answer]) -> None:
            turn.answers.update(answers)
            if chat is self._chat:
                self._become(Stage.READY, opened=opened)
                if self._is_wanted:  # the next was asked before these had ended
                    self._answer()

        def failed(error: UserError) -> None:
            if chat is self._chat:
                self._have_failed(error)

        self._screen.finetune.in_thread(
            lambda: chat.ask(asked, sampling, heard, cancelled), answered, "talk", failed
        )

    def _have_failed(self, error: UserError, was_cancelled: bool = False) -> None:
        """A prompt that was refused leaves the model as it is; everything else is begun anew."""
        self._is_looking = False
        is_answering, opened = self.is_answering, self.state.opened
        if was_cancelled:
            self._become(Stage.EMPTY)
        elif is_answering and error.exit_code == 2:
            self._become(Stage.READY, opened=opened, error=error)
        else:
            self._become(Stage.FAILED, error=error)
        self._is_wanted = False

    @property
    def _is_open(self) -> bool:
        """Whether the last turn waits for its answers."""
        return self.last is not None and not any(one.ended for one in self.last.answers.values())

    def _become(
        self,
        stage: Stage,
        words: str = "",
        opened: Opened | None = None,
        room: "ChatRoom | None" = None,
        error: UserError | None = None,
    ) -> None:
        now = self._screen.services.clock()
        self.state = TalkState(stage, words, opened, room, error, now)
        self._is_dirty = False
        if self._drawing:
            moves = stage in (Stage.LOADING, Stage.ANSWERING)
            self._drawing.resume() if moves else self._drawing.pause()
        self._changed()

    def figures(self, side: Side) -> Answer | None:
        """The last answer of a side, while it comes as it was within the last second: its row is long."""
        answer = self.last.answers.get(side) if self.last else None
        if answer is None or answer.ended is not None:
            return answer
        return self._figures.get(side, answer)

    def _draw(self) -> None:
        """What is new; what counts and is no text once a second."""
        is_next = time.monotonic() >= self._counted + 1
        if is_next:
            self._counted = time.monotonic()
            self._figures = dict(self.last.answers) if self.last and self.is_answering else {}
        if self._is_dirty or is_next:
            self._is_dirty = False
            self._changed()
