"""Runs at size: lists of thousands, and a run of a million steps.

    python benchmarks/runs.py        # writes benchmarks/results/runs.md; some minutes

Expected before measuring: the first rows of 10 000 runs in under a second, in the app and on the command
line; a run of a million events with its full curve in under a second, in the overlay too, and the same
time for a look at what is new whatever lies before it; the event loop never later than 20 ms (99 %) while
either is read.
"""

import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # `python benchmarks/runs.py` from anywhere

from textual.pilot import Pilot

from benchmarks.table import Table
from finetune_tui.core.runs.curves import Curves
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import EventReader
from finetune_tui.core.runs.listing import Listing
from finetune_tui.core.runs.processes import boot_id, host_name
from finetune_tui.core.runs.reading import Opening
from finetune_tui.core.runs.state import State, Status, write_state
from finetune_tui.core.tuning.spec import demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.train import TrainPlace
from finetune_tui.tui.services import real_services
from finetune_tui.tui.threads import share_in_short_turns
from finetune_tui.tui.widgets.lines import Lines

RESULTS = Path(__file__).parent / "results" / "runs.md"
RUNS = (100, 1_000, 10_000)
EVENTS = (1_000, 10_000, 100_000, 1_000_000)
SIZE = (120, 36)
_PATIENCE = 60.0  # seconds
_LOOKS = 200
_STEP = (
    '{"t":%.3f,"kind":"step","step":%d,"total_steps":%d,"loss":%.17g,"learning_rate":%.17g,'
    '"grad_norm":%.17g,"tokens":%d,"tokens_per_second":%.1f,"epoch":%.17g}\n'
)


def measure_lists() -> Table:
    """Seconds until the first rows, and until every run was read, by the number of runs."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for runs in RUNS:
            home = Path(folder) / str(runs)
            _make_runs(home, runs)
            named, whole = _list(home)
            first, last = _command_line(home)
            app = _in_a_process_of_its_own("list", home)
            rows.append(
                (
                    *(f"{runs:,}", named, whole, f"{app['first']:.2f}", f"{app['all']:.1f}"),
                    f"{app['late']:.0f} ({app['latest']:.0f})",
                    *(f"{first:.2f}", f"{last:.2f}"),
                )
            )
    head = (
        *("runs", "names and 50 rows, s (of CPU)", "all read, s (of CPU)"),
        *("in the app: first rows, s", "all, s", "event loop late meanwhile, ms 99 % (most)"),
        *("`runs`: first row, s", "`runs`: all, s"),
    )
    expected = "first rows of 10,000 runs in under 1 s, the start of Python included"
    return Table("A list of runs", expected, head, rows)


def measure_runs() -> Table:
    """A run of so many events: until its curve is there, until it is exact, what a look costs then."""
    rows = []
    smallest: float | None = None
    with tempfile.TemporaryDirectory() as folder:
        for events in EVENTS:
            run = _make_run(Path(folder) / str(events), events)
            size = run.events_path.stat().st_size
            alone = _in_a_process_of_its_own("curve", run.path)
            monitor = _in_a_process_of_its_own("monitor", run.path)
            overlay = _in_a_process_of_its_own("overlay", run.path)
            tail = _tail(run, events)
            smallest = smallest or tail
            rows.append(
                (
                    f"{events:,}",
                    f"{size / 1e6:.1f}",
                    f"{alone['first']:.2f} ({alone['first_cpu']:.2f})",
                    f"{alone['exact']:.1f} ({alone['exact_cpu']:.1f})",
                    f"{alone['memory'] / 2**20:.0f}",
                    f"{monitor['first']:.2f}",
                    f"{overlay['first']:.2f}",
                    f"{monitor['late']:.0f} ({monitor['latest']:.0f})",
                    f"{tail:.2f} ({tail / smallest:.2f}×)",
                )
            )
    head = (
        *("events", "MB", "curve, s (of CPU)", "exact, s (of CPU)", "memory, MB"),
        *("in the monitor, s", "in the overlay, s", "event loop late meanwhile, ms 99 % (most)"),
        "100 new events taken in, ms of CPU (to the first line)",
    )
    expected = "1,000,000 events in under 1 s; new events cost the same at every size"
    return Table("A long run", expected, head, rows)


def _make_runs(home: Path, number: int) -> None:
    values = {"host": host_name(), "boot_id": boot_id(), "model": "microsoft/phi-2", "attempt": 1}
    for run in range(1, number + 1):
        folder = home / "runs" / f"r{run}-phi-2-style"
        folder.mkdir(parents=True)
        status = Status.FAILED if run % 7 == 0 else Status.FINISHED
        state = State(
            status=status, step=300, total_steps=300, eval_loss=1 / run, created=1e9 + run
        )
        write_state(folder / "state.json", state.changed(**values))


def _list(home: Path) -> tuple[str, str]:
    """Seconds, and of them CPU, until the rows of one screen are known, and until all are."""
    began, cpu = time.perf_counter(), time.process_time()

    def passed() -> str:
        return f"{time.perf_counter() - began:.2f} ({time.process_time() - cpu:.2f})"

    listing = Listing(home)
    listing.poll(seconds=0)
    listing.poll(seconds=0, in_view=listing.runs[:50])
    named = passed()
    while not listing.is_complete:
        listing.poll()
    return named, passed()


def _command_line(home: Path) -> tuple[float, float]:
    """`finetune-tui runs`: seconds until a row is there, and until it has ended."""
    command = [sys.executable, "-m", "finetune_tui.tui.cli", "--home", str(home), "runs"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = 0.0
        for line in process.stdout:
            if not first and "phi-2" in line:
                first = time.perf_counter() - began
    if process.returncode or not first:
        raise SystemExit(f"{command} failed")
    return first, time.perf_counter() - began


async def _open_runs_place(home: Path) -> dict[str, float]:
    """Seconds from opening the place until the newest run stands there with its state, and until all were
    read; ms that the event loop was late from the first to the last.
    """
    number = len(list((home / "runs").iterdir()))
    newest, status = f"r{number}", "finished" if number % 7 else "failed"
    app = FinetuneApp(real_services(home))
    async with app.run_test(size=SIZE) as pilot:
        await _opened(pilot)
        began = time.perf_counter()
        await app.action_show_place("runs")
        while not any(newest in line and status in line for line in _shown(app)):
            await asyncio.sleep(0.01)
            if time.perf_counter() - began > _PATIENCE:
                raise SystemExit("the list of runs did not come")
        first = time.perf_counter() - began
        delays = [await _delay()]
        while not any(f"{number:,} runs" in line and "read" not in line for line in _title(app)):
            delays.append(await _delay())
        seconds = time.perf_counter() - began
        await app.action_show_place("data")
        await app.workers.wait_for_complete()
        return {"first": first, "all": seconds, **_lateness(delays)}


async def _opened(pilot: Pilot[str | None]) -> None:
    """What follows the first paint is done."""
    app = pilot.app
    assert isinstance(app, FinetuneApp)
    while app.returning is None:
        await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()


def _shown(app: FinetuneApp) -> list[str]:
    return [strip.text for strip in app.screen._compositor.render_strips()]


def _title(app: FinetuneApp) -> list[str]:
    return app.query_one("#runs-title", Lines).words.splitlines()


def _make_run(home: Path, events: int) -> RunDirectory:
    """Finished, so that nothing is new while it is opened."""
    run = RunDirectory(home / "runs" / "r1-long")
    run.path.mkdir(parents=True)
    run.spec_path.write_text(write_spec(demo_spec()))
    write_state(run.state_path, State(status=Status.FINISHED, step=events, total_steps=events))
    with run.events_path.open("w") as file:
        started = {"t": 0.0, "kind": "started", "attempt": 1, "total_steps": events}
        file.write(json.dumps(started, separators=(",", ":")) + "\n")
        for step in range(1, events + 1):
            file.write(_line(step, events))
            if step % 1000 == 0:
                evaluation = {"t": step / 2, "kind": "eval", "step": step, "eval_loss": 0.5}
                file.write(json.dumps(evaluation, separators=(",", ":")) + "\n")
    return run


def _line(step: int, total: int) -> str:
    noise = ((step * 2654435761) % 1000) / 1000
    values = (2 / step**0.3 + noise / 5, 2e-4 * (1 - step / total), 0.4 + noise / 10)
    return _STEP % (step / 2, step, total, *values, step * 1450, 2400 + noise * 100, step / 125)


def _in_a_process_of_its_own(what: str, folder: Path) -> dict[str, float]:
    """One of _ALONE, in a process that holds nothing else."""
    command = [sys.executable, __file__, what, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _open_curve(run: RunDirectory) -> dict[str, float]:
    """Seconds to the curve and to the exact one, and the memory that both take while they are made."""
    before = _memory()
    began, cpu = time.perf_counter(), time.process_time()
    opening = Opening(run.events_path, Curves)
    shown = opening.look().whole
    first, first_cpu = time.perf_counter() - began, time.process_time() - cpu
    most = _memory()
    while not opening.is_exact:
        shown = opening.look(0.5).whole or shown
        most = max(most, _memory())
    assert shown is not None
    return {
        "first": first,
        "first_cpu": first_cpu,
        "exact": time.perf_counter() - began,
        "exact_cpu": time.process_time() - cpu,
        "memory": most - before,
    }


def _memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _open_monitor(run: RunDirectory) -> dict[str, float]:
    """Seconds until the monitor shows the curve; ms that the event loop was late after that."""
    app = FinetuneApp(real_services(run.path.parent.parent))
    async with app.run_test(size=SIZE) as pilot:
        await _opened(pilot)
        await app.action_show_place("train")
        place = app.query_one(TrainPlace)
        began = time.perf_counter()
        place.watch_run(run)
        while not (place.following and place.following.has_steps):
            await asyncio.sleep(0.005)
            if time.perf_counter() - began > _PATIENCE:
                raise SystemExit("the curve did not come")
        seconds = time.perf_counter() - began
        delays = [await _delay() for _ in range(800)]
        place.action_new_run()
        await app.workers.wait_for_complete()
        return {"first": seconds, **_lateness(delays)}


async def _open_overlay(run: RunDirectory) -> dict[str, float]:
    """Seconds from the key in the list of runs until the curve is drawn."""
    app = FinetuneApp(real_services(run.path.parent.parent))
    async with app.run_test(size=SIZE) as pilot:
        await _opened(pilot)
        await app.action_show_place("runs")
        while not any("1 run" in line for line in _title(app)):
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        await pilot.press("c")
        while not any("best eval" in line for line in _shown(app)):
            await asyncio.sleep(0.01)
            if time.perf_counter() - began > _PATIENCE:
                raise SystemExit("the overlay did not come")
        return {"first": time.perf_counter() - began}


def _lateness(delays: list[float]) -> dict[str, float]:
    """The 99th percentile and the most, in ms."""
    delays = sorted(delays)
    return {"late": 1000 * delays[int(len(delays) * 0.99)], "latest": 1000 * delays[-1]}


async def _delay() -> float:
    began = time.perf_counter()
    await asyncio.sleep(0.005)
    return time.perf_counter() - began - 0.005


def _tail(run: RunDirectory, events: int) -> float:
    """ms of CPU for 100 new events: found, read and added to the curves. The median of many looks."""
    curves = Opening(run.events_path, Curves).look().whole
    assert curves is not None
    reader = EventReader(run.events_path, run.events_path.stat().st_size)
    times = []
    for look in range(_LOOKS):
        first = events + 100 * look
        with run.events_path.open("a") as file:
            file.writelines(_line(step, first) for step in range(first + 1, first + 101))
        began = time.thread_time()
        found = reader.poll()
        curves.feed(found)
        times.append(time.thread_time() - began)
        assert len(found) == 100
    return 1000 * sorted(times)[_LOOKS // 2]


def record() -> str:
    """Measure, and write benchmarks/results/runs.md."""
    before = os.getloadavg()[0]
    tables = f"{measure_lists()}\n{measure_runs()}"
    loads = f"load {before:.1f} before and {os.getloadavg()[0]:.1f} after"
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores, {loads}."
    RESULTS.write_text(f"# Runs at size\n\n{where}\n\n{tables}")
    return tables


_ALONE: dict[str, Callable[[Path], dict[str, float]]] = {
    "list": lambda home: asyncio.run(_open_runs_place(home)),
    "curve": lambda path: _open_curve(RunDirectory(path)),
    "monitor": lambda path: asyncio.run(_open_monitor(RunDirectory(path))),
    "overlay": lambda path: asyncio.run(_open_overlay(RunDirectory(path))),
}

if __name__ == "__main__":
    if len(sys.argv) > 1:
        share_in_short_turns()  # as the app does
        print(json.dumps(_ALONE[sys.argv[1]](Path(sys.argv[2]))))
    else:
        print(record())
