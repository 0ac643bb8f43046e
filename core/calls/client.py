"""The client side of a call: a short piece of work in another process, bounded in time and memory."""

import itertools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.limits import LONGEST, TOO_LONG

TIMEOUT = 120.0  # seconds for one call
PATIENCE = 2.0  # seconds that one which was cancelled has to end by itself
MOST_MEMORY = 8 * 2**30  # bytes resident; a limit on address space would kill CUDA
_LOOK_EVERY = 0.2


class CallProcess:
    """A process that answers calls; started with the first one and kept warm until `close`.

    gpus: UUIDs of those it may use, none named: all of them. most_memory: bytes resident. Every method
    blocks: use it in a thread. Calls of several threads queue up.
    """

    def __init__(
        self, use_gpu: bool = False, most_memory: int = MOST_MEMORY, gpus: Sequence[str] = ()
    ) -> None:
        self._use_gpu = use_gpu
        self._gpus = tuple(gpus)
        self._most_memory = most_memory
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        # Lives as long as this object: a pipe that nobody drains would stop the other side.
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._ids = itertools.count(1)
        self._turn = threading.Lock()
        self._look_at = 0.0
        self._doing = ""  # for people: what the other side said last

    def __enter__(self) -> "CallProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._stderr.close()

    def call(
        self,
        name: str,
        params: dict[str, Any],
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        timeout: float = TIMEOUT,
        cancelled: threading.Event | None = None,
        renewed: bool = False,
        patience: float = PATIENCE,
    ) -> Any:
        """The call's result.

        renewed: each word of progress gives it the whole timeout again. patience: seconds to end by itself
        after a cancel; then its process is ended. Raises UserError or WorkFailed: what the other side says,
        or that it took too long or too much memory (its process is then gone; the next call starts a fresh
        one), or `cancelled`.
        """
        with self._turn:
            process = self._started()
            self._doing = name
            id = next(self._ids)
            self._send(process, {"id": id, "call": name, "params": params})
            deadline = time.monotonic() + timeout
            cancel_sent = False
            while True:
                answer = self._next_answer(process, name, deadline)
                if answer is not None and answer["id"] == id:
                    if "progress" not in answer:
                        return _result(answer)
                    self._doing = str(answer["progress"].get("words") or name)
                    if renewed and not cancel_sent:
                        deadline = time.monotonic() + timeout
                    if on_progress:
                        on_progress(answer["progress"])
                if cancelled is not None and cancelled.is_set() and not cancel_sent:
                    cancel_sent = True
                    self._send(process, {"cancel": id})
                    deadline = min(deadline, time.monotonic() + patience)

    @property
    def is_alive(self) -> bool:
        """Whether the process is there, with all that it holds."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._answers = queue.Queue()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "finetune_tui.core.calls.server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                encoding="utf-8",
                env=self._environment(),
                start_new_session=True,  # ctrl-c in the terminal is not for it
            )
            threading.Thread(
                target=_read_answers, args=(self._process.stdout, self._answers), daemon=True
            ).start()
        return self._process

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        if not self._use_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        elif self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus)
        return environment

    def _send(self, process: "subprocess.Popen[str]", request: dict[str, Any]) -> None:
        assert process.stdin is not None  # opened as a pipe
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except OSError as error:
            raise self._died(process) from error

    def _next_answer(
        self, process: "subprocess.Popen[str]", name: str, deadline: float
    ) -> dict[str, Any] | None:
        """The next answer, or None after a short wait. Raises WorkFailed past a limit."""
        if time.monotonic() >= self._look_at:  # also at one that never stops telling
            self._look_at = time.monotonic() + _LOOK_EVERY
            self._watch(process, name, deadline)
        try:
            answer = self._answers.get(timeout=_LOOK_EVERY)
        except queue.Empty:
            return None
        if answer is None:
            raise self._died(process)
        return answer

    def _watch(self, process: "subprocess.Popen[str]", name: str, deadline: float) -> None:
        if time.monotonic() > deadline:
            self.close()
            raise WorkFailed(f"'{name}' took too long and was ended")
        try:
            resident = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:
            return
        if resident > self._most_memory:
            self.close()
            raise WorkFailed(
                f"'{name}' needed more than {self._most_memory >> 30} GiB and was ended"
            )

    def _died(self, process: "subprocess.Popen[str]") -> WorkFailed:
        code = process.wait()
        self.close()
        self._stderr.seek(0)
        last = (self._stderr.read()[-4000:].strip().splitlines() or ["no words"])[-1]
        self._stderr.seek(0)
        self._stderr.truncate()
        if code == -TOO_LONG:
            return WorkFailed(
                f"{self._doing} did not come to an end within {LONGEST:.0f} s and was ended",
                hint="what the model brings, its config, tokenizer or chat template, is at fault",
            )
        return WorkFailed(f"the helper process ended with code {code} ({last})")


def end_process(process: "subprocess.Popen[str]") -> None:
    """Kill it, reap it and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def inspect_folder(folder: Path, model: str) -> dict[str, Any]:
    """One `inspect` call in a process of its own: the manifest of a folder as JSON."""
    with CallProcess() as process:
        answer: dict[str, Any] = process.call("inspect", {"folder": str(folder), "model": model})
    return answer


def _read_answers(pipe: Any, answers: "queue.Queue[dict[str, Any] | None]") -> None:
    try:
        for line in pipe:
            answers.put(json.loads(line))
    except ValueError:  # the pipe was closed under us, or the line was cut by a kill
        pass
    answers.put(None)


def _result(answer: dict[str, Any]) -> Any:
    if "error" not in answer:
        return answer["result"]
    kind = WorkFailed if answer.get("exit_code") == 1 else UserError
    error = answer["error"]
    raise kind(error["message"], where=error["where"], hint=error["hint"])
