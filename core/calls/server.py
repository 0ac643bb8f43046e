"""The server side of a call: answers requests in a process that may import torch.

    python -m finetune_tui.core.calls.server

Requests come as JSON lines on stdin, `{"id", "call", "params"}` or `{"cancel": id}`; answers go as JSON
lines to what was stdout: `{"id", "progress"}` any number of times, then `{"id", "result"}` or
`{"id", "error"}`. What libraries print goes to stderr. Ends when stdin does.
"""

import importlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from finetune_tui.core.calls.cancelled import Cancelled
from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain

# Named, not imported: this room knows no torch, and a call loads only what it needs.
CALLS = {
    "chat": "finetune_tui.core.evidence.chat_call:chat_call",
    "chat_open": "finetune_tui.core.evidence.chat_call:open_call",
    "inspect": "finetune_tui.core.models.inspection:inspect_call",
    "push": "finetune_tui.core.export.push_call:push_call",
    "simulate": "finetune_tui.core.training.simulate:simulate_call",
    "tokens": "finetune_tui.core.data.tokens_call:tokens_call",
}

Progress = Callable[[dict[str, Any]], None]


class Server:
    """One request after another in the main thread; another reads, so that a cancel gets through."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._cancelled: set[Any] = set()

    def serve(self, requests: TextIO) -> None:
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()
        while (request := self._requests.get()) is not None:
            self._answer(request)

    def _read(self, requests: TextIO) -> None:
        for line in requests:
            request = json.loads(line)
            if "cancel" in request:
                self._cancelled.add(request["cancel"])
            else:
                self._requests.put(request)
        self._requests.put(None)

    def _answer(self, request: dict[str, Any]) -> None:
        id = request["id"]

        def progress(words: dict[str, Any]) -> None:
            if id in self._cancelled:
                raise Cancelled
            self._say({"id": id, "progress": words})

        try:
            self._say({"id": id, "result": _function(request["call"])(request["params"], progress)})
        except Cancelled:
            self._say({"id": id, "error": {"message": "cancelled", "hint": None, "where": None}})
        except UserError as error:
            self._say({"id": id, "error": error.to_json(), "exit_code": error.exit_code})
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            message = plain(f"{type(error).__name__}: {first}", 300)
            self._say({"id": id, "error": UserError(message).to_json(), "exit_code": 1})

    def _say(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()


def _function(call: str) -> Callable[[dict[str, Any], Progress], Any]:
    module, _, name = CALLS[call].partition(":")
    function: Callable[[dict[str, Any], Progress], Any] = getattr(
        importlib.import_module(module), name
    )
    return function


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on a library's print cannot break the protocol
    Server(answers).serve(sys.stdin)


if __name__ == "__main__":
    main()
