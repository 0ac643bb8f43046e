"""What the app looks at every few seconds: the machine, the run in view, the terminal itself."""

import os
import signal
from typing import TYPE_CHECKING

from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import plain
from finetune_tui.tui.terminal import is_gone

if TYPE_CHECKING:
    from finetune_tui.core.hardware import Hardware
    from finetune_tui.core.runs.directory import RunDirectory
    from finetune_tui.tui.app import FinetuneApp

_MACHINE_EVERY = 3.0  # seconds
_TERMINAL_EVERY = 1.0


class Watch:
    """Keeps `session.hardware` fresh and knows what the right end of the first line says."""

    def __init__(self, app: "FinetuneApp") -> None:
        self._app = app
        self._run_words = ""

    def start(self) -> None:
        self.look()
        self._app.set_interval(_MACHINE_EVERY, self.look)
        self._app.set_interval(_TERMINAL_EVERY, _end_without_terminal)

    def words(self) -> tuple[str, ...]:
        """The more important first: a run, the GPU."""
        return tuple(words for words in (self._run_words, self._gpu_words()) if words)

    def look(self) -> None:
        self._app.in_thread(self._look_at_machine, self._saw_machine, group="machine")

    def _look_at_machine(self) -> "tuple[Hardware, str]":
        returning = self._app.returning
        run = self._app.session.monitored or (returning.live if returning else None)
        return self._app.services.read_hardware(), self._words_of(run) if run else ""

    def _saw_machine(self, seen: "tuple[Hardware, str]") -> None:
        self._app.session.hardware, self._run_words = seen
        self._app.session_changed()

    def _words_of(self, run: "RunDirectory") -> str:
        """`r7 ▶ 612/1044` while it lives, then how it ended."""
        state = run.state()
        liveness = run.liveness(self._app.services.clock())
        if not liveness.is_alive:
            return plain(f"{run.short_id} {liveness.status.value}", 40)
        mark = "‖" if liveness.status is Status.PAUSED else "▶"
        progress = f"{state.step}/{state.total_steps}" if state.step and state.total_steps else "…"
        return plain(f"{run.short_id} {mark} {progress}", 40)

    def _gpu_words(self) -> str:
        gpu = self._app.session.gpu
        if gpu is None:
            return "no GPU" if self._app.session.hardware else ""
        words = f"GPU{gpu.index} {short_gpu(gpu.name or '')}"
        if gpu.utilization is not None:
            words += f" {gpu.utilization}%" if gpu.utilization else " idle"
        return plain(words, 40)


def short_gpu(name: str) -> str:
    """'NVIDIA GeForce RTX 4090' → 'RTX 4090'."""
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def _end_without_terminal() -> None:
    """With the terminal gone nobody is there to leave politely: runs go on, the app ends."""
    if is_gone():
        os._exit(128 + signal.SIGHUP)
