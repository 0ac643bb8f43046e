"""Counting the data in tokens beside the screen: one question at a time, with progress and a way out."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune_tui.core.data.token_report import TokenQuestion, TokenReport
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.tui.threads import on_this_thread

if TYPE_CHECKING:
    from finetune_tui.tui.screens.place import Place


@dataclass(frozen=True, slots=True)
class CountState:
    """How far counting is. progress: words while it goes on. error: why the last one failed."""

    progress: str | None = None
    error: str | None = None


class Counting:
    """Asks the services, and puts the answer into the session.

    changed: called on the screen's thread whenever `state` is another or an answer came.
    """

    def __init__(self, place: "Place", changed: Callable[[], object]) -> None:
        self._place = place
        self._changed = changed
        self._question: TokenQuestion | None = None
        self._cancelled = threading.Event()
        self.state = CountState()

    @property
    def is_going_on(self) -> bool:
        return self.state.progress is not None

    def look(self, question: TokenQuestion | None, may_begin: bool) -> None:
        """Called whenever something changed: what another question was asked for counts no more."""
        if question == self._question:
            return
        self._cancelled.set()
        self._question = question
        self.state = CountState()
        session = self._place.session
        if question is not None and may_begin and session.tokens is None:
            self.begin(question)

    def begin(self, question: TokenQuestion) -> None:
        """Count; nothing when that goes on already."""
        if self.is_going_on:
            return
        self._question = question
        cancelled = self._cancelled = threading.Event()
        self.state = CountState(progress="starting")

        def said(words: str) -> None:
            if self.is_going_on and not cancelled.is_set():
                self._set(CountState(progress=plain(words, 120)))

        progress = on_this_thread(said)

        def count() -> TokenReport:
            return self._place.services.count_tokens(question, progress, cancelled)

        def counted(report: TokenReport) -> None:
            if not cancelled.is_set():
                self._place.session.counted = report
                self._set(CountState())
                self._place.finetune.session_changed()

        def failed(error: UserError) -> None:
            if not cancelled.is_set():
                self._set(CountState(error=str(error)))

        self._place.finetune.in_thread(count, counted, "tokens", failed)
        self._changed()

    def cancel(self) -> bool:
        """Whether there was something to cancel."""
        was_going_on = self.is_going_on
        self._cancelled.set()
        if was_going_on:
            self._set(CountState())
        return was_going_on

    def forget(self) -> None:
        """The files may be others under the same names: the next look asks again."""
        self._cancelled.set()
        self._question = None
        self.state = CountState()

    def leave(self) -> None:
        """The app closes."""
        self._changed = lambda: None
        self._cancelled.set()

    def _set(self, state: CountState) -> None:
        self.state = state
        self._changed()
