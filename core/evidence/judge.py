"""Asking the process of `judging`: never longer than its clock allows, whatever it was given."""

import json
import os
import select
import subprocess
import sys
from types import TracebackType
from typing import Any

from finetune_tui.core.calls.client import end_process
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.limits import LONGEST, TOO_LONG

SECONDS = 2.0
MOST_SLOW = 3
"""Answers that may take too long; they count as wrong. With one more the comparison ends."""
_PATIENCE = 60.0  # seconds on the wall: of a machine so busy that the process gets no CPU


class TooSlowError(Exception):
    """The schema or the expression did not come to an end on an answer."""


class Judge:
    """Holds a JSON schema and a regular expression, each of which may be missing, against answers.

    schema: as JSON holds it. seconds: of CPU for one answer against one of the two. slow: how many answers
    took longer. Used from one thread.
    """

    def __init__(
        self, schema: Any = None, regex: str | None = None, seconds: float = SECONDS
    ) -> None:
        self._about = {"schema": schema, "regex": regex, "seconds": seconds}
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self.slow = 0

    def __enter__(self) -> "Judge":
        """Raises UserError when one of the two is not what it should be, or takes forever to be read."""
        if self._about["schema"] is None and self._about["regex"] is None:
            return self
        try:
            self._start()
        except TooSlowError:
            where = "json_schema" if self._about["regex"] is None else "regex"
            raise UserError(f"reading it takes more than {LONGEST:g} s", where=where) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def meets(self, answer: str) -> bool:
        """Whether the answer is JSON that the schema allows. Raises TooSlowError."""
        return bool(self._ask({"answer": answer}))

    def matches(self, expected: str, answer: str) -> bool | None:
        """What the expression says of the answer; None: nothing. Raises TooSlowError."""
        found = self._ask({"expected": expected, "answer": answer})
        return None if found is None else bool(found)

    def patiently(self, metric: str, expected: str, answer: str) -> bool | None:
        """The same for a model's answer: wrong when it takes too long. Raises WorkFailed after a few."""
        try:
            return self.meets(answer) if metric == "schema" else self.matches(expected, answer)
        except TooSlowError:
            self.slow += 1
        if self.slow > MOST_SLOW:
            words = "the JSON schema" if metric == "schema" else "the regular expression"
            raise WorkFailed(
                f"{words} took more than {self._seconds:g} s on each of {self.slow} answers",
                where="json_schema" if metric == "schema" else "regex",
                hint="one without repeats inside repeats, like (a+)+, is fast",
            )
        return False

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_process(process)

    def _ask(self, request: dict[str, str]) -> Any:
        if self._process is None:
            self._start()
        answer = self._exchange(request)
        if "error" in answer:
            raise UserError(**answer["error"])
        return answer["right"]

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "finetune_tui.core.evidence.judging"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,  # ctrl-c in the terminal is not for it
        )
        answer = self._exchange(self._about)
        if "error" in answer:
            self.close()
            raise UserError(**answer["error"])

    def _exchange(self, request: Any) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            is_ready, _, _ = select.select([process.stdout], [], [], _PATIENCE)
            line = process.stdout.readline() if is_ready else ""
        except OSError:
            line = ""
        if line.endswith("\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.poll() if line or not is_ready else process.wait(_PATIENCE)
        self.close()
        if code in (None, -TOO_LONG):
            raise TooSlowError
        raise WorkFailed(f"the process that judges answers ended with code {code}")
