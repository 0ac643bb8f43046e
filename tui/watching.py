"""What the app looks at every few seconds: the machine, the run in view, the terminal itself."""

import os
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finetune_tui.core.runs.state import Status
from finetune_tui.core.text import percent, plain
from finetune_tui.tui.ends import Ends
from finetune_tui.tui.terminal import is_gone

if TYPE_CHECKING:
    from finetune_tui.core.doctor import Finding
    from finetune_tui.core.hardware import Hardware
    from finetune_tui.core.runs.directory import RunDirectory
    from finetune_tui.tui.app import FinetuneApp
    from finetune_tui.tui.returning import Returning

_MACHINE_EVERY = 3.0  # seconds
_ENDS_EVERY = 10.0
_TERMINAL_EVERY = 1.0
_NEWS = 1 / 20  # of what was shown


@dataclass(frozen=True, slots=True)
class _Seen:
    """words: of the run in view, for the first line. title: the same for the terminal's title. context:
    bytes that CUDA takes here, where that was measured.
    """

    hardware: "Hardware"
    context: int | None
    words: str
    title: str
    ended: "list[str]"


class Watch:
    """Looks back at the start; then keeps `session.hardware` fresh, knows what the right end of the first
    line says, and tells of runs that end.
    """

    def __init__(self, app: "FinetuneApp") -> None:
        self._app = app
        self._run_words = ""
        self._ends = Ends(app.services.list_runs, app.services.clock())

    def start(self) -> None:
        app = self._app
        app.in_thread(self._look_back, self._looked_back, group="runs")
        app.in_thread(app.services.keep_queue_running, self._queue_goes_on, group="queue")
        self._tell_the_untold()
        self.look()
        self._app.set_interval(_MACHINE_EVERY, self.look)
        self._app.set_interval(_ENDS_EVERY, self._tell_the_untold)
        self._app.set_interval(_TERMINAL_EVERY, _end_without_terminal)

    def words(self) -> tuple[str, ...]:
        """The more important first: a run, the GPU."""
        return tuple(words for words in (self._run_words, self._gpu_words()) if words)

    def look(self) -> None:
        self._app.in_thread(self._look, self._saw, group="machine")

    def _look_back(self) -> "Returning":
        from finetune_tui.tui.returning import last_seen, look_back, write_seen

        services = self._app.services
        seen = last_seen(services.home)
        found = look_back(services.list_runs(), seen, services.clock())
        write_seen(services.home, services.clock())
        return found

    async def _looked_back(self, returning: "Returning") -> None:
        """Show what was missed; a run that goes on is shown at once, unless the person was faster."""
        app = self._app
        app.returning = returning
        if returning.live and app.place_name == "model" and app.session.manifest is None:
            app.session.monitored = returning.live
            await app.action_show_place("train")
            if returning.away:
                app.say(f"while you were away: {returning.away}")
        else:
            app.in_thread(app.services.examine, self._examined, group="examine")
        app.session_changed()

    def _examined(self, findings: "list[Finding]") -> None:
        self._app.session.findings = tuple(findings)
        self._app.session_changed()

    def _queue_goes_on(self, words: str | None) -> None:
        if words:
            self._app.say(words)

    def _tell_the_untold(self) -> None:
        """For runs whose supervisor died too: their hook is run from here."""
        self._app.in_thread(self._app.services.notice_ends, lambda _runs: None, group="ends")

    def _look(self) -> _Seen:
        app, now = self._app, self._app.services.clock()
        run = app.session.monitored or (app.returning.live if app.returning else None)
        if run is not None and not run.path.exists():
            run = None  # deleted: there is nothing to say of it
        words, title = _words_of(run, now) if run else ("", "")
        hardware = app.services.read_hardware()
        context = app.services.measured_context(app.session.gpu_of(hardware))
        ended = self._ends.look([run] if run else [], now)
        return _Seen(hardware, context, words, title, ended)

    def _saw(self, seen: _Seen) -> None:
        app = self._app
        app.session.hardware = steady(app.session.hardware, seen.hardware)
        self._run_words = seen.words
        app.session.use_context(seen.context)
        app.telling.show_title(seen.title)
        for words in seen.ended:
            app.telling.run_ended(words)
        if seen.ended:
            app.say(" · ".join(seen.ended))
        app.session_changed()

    def _gpu_words(self) -> str:
        gpu = self._app.session.gpu
        if gpu is None:
            return "no GPU" if self._app.session.hardware else ""
        words = f"GPU{gpu.index} {short_gpu(gpu.name or '')}"
        if gpu.utilization is not None:
            words += f" {gpu.utilization}%" if gpu.utilization else " idle"
        return plain(words, 40)


def _words_of(run: "RunDirectory", now: float) -> tuple[str, str]:
    """`r7 ▶ 612/1044` and `r7 59%` while it lives, then how it ended."""
    state, liveness = run.state(), run.liveness(now)
    name = run.short_id
    if not liveness.is_alive:
        words = plain(f"{name} {liveness.status.value}", 40)
        return words, words
    mark = "‖" if liveness.status is Status.PAUSED else "▶"
    if not state.step or not state.total_steps:
        return plain(f"{name} {mark} …", 40), plain(f"{name} {liveness.status.value}", 40)
    share = percent(state.step, state.total_steps)
    return plain(f"{name} {mark} {state.step}/{state.total_steps}", 40), plain(
        f"{name} {share}", 40
    )


def steady(before: "Hardware | None", now: "Hardware") -> "Hardware":
    """The machine as it is now; its memory and its disk only when they moved by more than a twentieth.

    What other programs do from second to second is no news, and would cost the wire half a kilobyte each
    time.
    """
    if before is None:
        return now
    kept = {
        name: getattr(before, name)
        for name in ("memory_available", "memory_used", "disk_free")
        if _is_near(getattr(before, name), getattr(now, name))
    }
    return replace(now, **kept)


def _is_near(before: int | None, now: int | None) -> bool:
    return before is not None and now is not None and abs(now - before) <= before * _NEWS


def short_gpu(name: str) -> str:
    """'NVIDIA GeForce RTX 4090' → 'RTX 4090'."""
    return name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def _end_without_terminal() -> None:
    """With the terminal gone nobody is there to leave politely: runs go on, the app ends."""
    if is_gone():
        os._exit(128 + signal.SIGHUP)
