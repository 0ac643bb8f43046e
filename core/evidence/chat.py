"""Asking a trained run beside its base: the app's side of the calls `chat_open` and `chat`."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from finetune_tui.core.calls.client import MOST_MEMORY, CallProcess
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.conversation import Answer, Side
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.hardware import read_hardware
from finetune_tui.core.runs.directory import RunDirectory

_LOADING = 3600.0  # seconds without a word: weights may come from a slow disk, and esc cancels
_TOKEN = 600.0  # seconds for one token, or a piece of the prompt
_LAST_TOKEN = 120.0  # seconds that the token under way may still take after a cancel


@dataclass(frozen=True, slots=True)
class Where:
    """Where the model shall answer. use_cpu: None as the run did. gpu: the UUID of one; None: the first."""

    use_cpu: bool | None = None
    gpu: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is loaded. dtype: how its base is held. context: tokens it takes, None when unknown.

    step: of the checkpoint that stands for the result, None for the result itself. seconds: to load it.
    bytes: of GPU memory that it holds; None on the CPU.
    """

    model: str
    device: str
    dtype: str
    context: int | None
    has_template: bool
    step: int | None
    seconds: float
    bytes: int | None


Tell = Callable[[Side, Answer], None]
"""Called with a side and its answer so far, once for every token."""


class Chat(Protocol):
    """Who answers. Every method blocks; use it in a thread, one call at a time."""

    def open(
        self,
        run: RunDirectory,
        where: Where,
        say: Callable[[str], None],
        cancelled: threading.Event,
    ) -> Opened: ...

    def ask(
        self,
        asked: Mapping[Side, dict[str, Any]],
        sampling: Sampling,
        tell: Tell,
        cancelled: threading.Event,
    ) -> dict[Side, Answer]: ...

    def close(self) -> None: ...


class ChatProcess:
    """Holds the model of one run in a process of its own, until it is closed."""

    def __init__(self) -> None:
        self._process: CallProcess | None = None
        self._run: RunDirectory | None = None
        self._where = Where()

    def open(
        self,
        run: RunDirectory,
        where: Where,
        say: Callable[[str], None],
        cancelled: threading.Event,
    ) -> Opened:
        """Load the run's model, or find it loaded. say: gets words while it loads.

        Raises UserError and WorkFailed as loading does, also when it is `cancelled`.
        """
        if self._process is None or where != self._where:
            self.close()
            gpus = (where.gpu,) if where.gpu else ()
            self._process = CallProcess(where.use_cpu is not True, _most_memory(), gpus)
        self._run, self._where = run, where
        found = self._process.call(
            "chat_open",
            self._params(),
            lambda told: say(_words(told)),
            timeout=_LOADING,
            cancelled=cancelled,
            renewed=True,
        )
        return Opened(**found)

    def ask(
        self,
        asked: Mapping[Side, dict[str, Any]],
        sampling: Sampling,
        tell: Tell,
        cancelled: threading.Event,
    ) -> dict[Side, Answer]:
        """Each side's answer to its own prompt; what is there so far when it is `cancelled`.

        Loads the model anew when its process is gone. Raises UserError and WorkFailed as answering does.
        """
        if self._process is None:
            raise UserError("no model is loaded")
        so_far: dict[Side, Answer] = {}

        def hear(told: dict[str, Any]) -> None:
            if "side" not in told:
                return
            side = Side(told["side"])
            before = so_far.get(side, Answer())
            so_far[side] = replace(
                before,
                text=before.text + told["text"],
                tokens=told["tokens"],
                seconds=told["seconds"],
                read=told["read"],
                to_read=told["to_read"],
            )
            tell(side, so_far[side])

        found = self._process.call(
            "chat",
            self._params()
            | {
                "asked": {side.value: row for side, row in asked.items()},
                "sampling": sampling.to_json(),
            },
            hear,
            timeout=_TOKEN,
            cancelled=cancelled,
            renewed=True,
            patience=_LAST_TOKEN,
        )
        return {Side(name): Answer.from_json(one) for name, one in found["answers"].items()}

    def close(self) -> None:
        """Give back what the model holds."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _params(self) -> dict[str, Any]:
        return {"run": str(self._run.path if self._run else ""), "use_cpu": self._where.use_cpu}


def _most_memory() -> int:
    """Bytes that the process may take: a model may need most of the machine, never all of it."""
    available = read_hardware().memory_available
    return max(MOST_MEMORY, available * 19 // 20) if available else MOST_MEMORY


def _words(told: Mapping[str, Any]) -> str:
    words, done, total = str(told.get("words") or ""), told.get("done"), told.get("total")
    return f"{words} {100 * (done or 0) // total}%" if total else words
