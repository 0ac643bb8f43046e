"""Somebody who answers without a model: what each side says is written down beforehand."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.chat import Opened, Tell, Where
from finetune_tui.core.evidence.chat_room import ChatRoom
from finetune_tui.core.evidence.conversation import Answer, Ended, Side
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.state import Status
from tests.tui.runs_fixture import NOW, ending, make_run, preparation, training

SAYS = {
    Side.BASE: '{"item": "shelf", "city": "Athens"}',
    Side.TUNED: '{"item": "shelf", "colour": "white", "quantity": 74, "city": "Athens"}',
}
EXACT = {
    Side.BASE: ' {"item": "bench", "city": "Madrid", "shipping": "express"}',
    Side.TUNED: ' {"item": "bench", "colour": "grey", "quantity": 56, "city": "Madrid",'
    ' "day": "SUN", "shipping": "EXP"}',
}
"""What the demo's models really say to its first held-out row."""
ENOUGH = ChatRoom(True, "about 1.2G is needed and 23.1G of 24.0G is free on GPU0 RTX 4090")
NO_ROOM = ChatRoom(
    False,
    "r9 trains there, 612/1044; about 5.2G is needed and 1.1G of 24.0G is free on GPU0 RTX 4090:"
    " pid 71 holds 22.0G",
)


class FakeChat:
    """Stands in for the process. gate: answers wait at it after their first words while it is closed."""

    def __init__(self, says: Mapping[Side, str] = SAYS, on_gpu: bool = True) -> None:
        self.says = says
        self.on_gpu = on_gpu
        self.asked: list[tuple[Mapping[Side, dict[str, Any]], Sampling]] = []
        self.opened: list[tuple[RunDirectory, Where]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.loading = threading.Event()
        self.loading.set()
        self.fails: UserError | None = None
        self.is_closed = False

    def open(
        self,
        run: RunDirectory,
        where: Where,
        say: Callable[[str], None],
        cancelled: threading.Event,
    ) -> Opened:
        self.opened.append((run, where))
        say("loading the weights 40%")
        while not self.loading.wait(0.01):
            if cancelled.is_set():
                raise UserError("cancelled")
        if self.fails:
            raise self.fails
        on_cpu = where.use_cpu is True or not self.on_gpu
        return Opened(
            model="demo",
            device="CPU" if on_cpu else "NVIDIA GeForce RTX 4090",
            dtype="float32" if on_cpu else "bfloat16",
            context=256,
            has_template=False,
            step=None,
            seconds=0.2,
            bytes=None if on_cpu else int(1.2 * 2**30),
        )

    def ask(
        self,
        asked: Mapping[Side, dict[str, Any]],
        sampling: Sampling,
        tell: Tell,
        cancelled: threading.Event,
    ) -> dict[Side, Answer]:
        self.asked.append((asked, sampling))
        answers = {}
        for side, row in asked.items():
            text = self.says[side]
            tell(side, Answer(text[:12], 6, 0.1, None, None, 24, 24))
            while not self.gate.wait(0.01):
                if cancelled.is_set():
                    answers[side] = Answer(text[:12], 6, 0.1, Ended.STOPPED, None, 24, 24)
                    break
            else:
                wanted = row.get("completion")
                exact = None if wanted is None else text.strip() == wanted.strip()
                answers[side] = Answer(text, 30, 0.5, Ended.END, exact, 24, 24)
        return answers

    def close(self) -> None:
        self.is_closed = True


def finished_run(home: Path, name: str = "r7-demo-structured-output") -> RunDirectory:
    """A run that ended well, with something in its adapter's folder."""
    events = [*preparation(), *training(1, 300, 0.3), *ending()]
    state: dict[str, Any] = {"status": Status.FINISHED, "ended": NOW - 2, "step": 300}
    run = make_run(home, events, name, **state)
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").write_bytes(b"x")
    return run
