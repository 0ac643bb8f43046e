"""A run that can be exported, what its export would write, a Hub that answers, and the sheet before it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from finetune_tui.core.export.plan import ExportPlan, PlannedFile
from finetune_tui.core.export.push_plan import PushPlan, SentFile
from finetune_tui.core.models.hub_account import Account
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.labels import change_labels
from finetune_tui.core.runs.state import Status
from finetune_tui.core.tuning.task_spec import ExportSpec
from finetune_tui.tui.app import FinetuneApp
from finetune_tui.tui.screens.ask import AskScreen
from finetune_tui.tui.screens.export import ExportView, open_export
from finetune_tui.tui.screens.export_form import ExportForm
from finetune_tui.tui.themes import DARK
from finetune_tui.tui.widgets.lines import Lines
from tests.tui.conftest import settled
from tests.tui.runs_fixture import (
    NOW,
    demo_session,
    fixed_services,
    make_run,
    preparation,
    show,
)

AppPilot = Pilot[Any]
GIB = 2**30
MIB = 2**20


def trained_run(home: Path) -> RunDirectory:
    run = make_run(
        home,
        preparation(),
        status=Status.FINISHED,
        step=300,
        eval_loss=0.113,
        ended=NOW - 20,
    )
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    (run.adapter / "adapter_model.safetensors").write_bytes(b"tensors")
    change_labels(run, name="invoices")
    return run


def plan_export(spec: ExportSpec) -> ExportPlan:
    """A 1.3B model in 16 bits, or its adapter."""
    small = [PlannedFile(name, 4096) for name in ("Modelfile", "README.md", "export.json")]
    kept = [PlannedFile("tokenizer.json", 2 * MIB), *small]
    if not spec.merge:
        adapter = PlannedFile("adapter_model.safetensors", 63 * MIB)
        files = (PlannedFile("adapter_config.json", 900), adapter, *kept)
        return ExportPlan(Path(spec.out), False, None, files, 41 * GIB, 0, 33 * GIB, "memory", ())
    files = (PlannedFile("model-*.safetensors", 5 * GIB), PlannedFile("config.json", 2048), *kept)
    notes = (
        "trained on the 4-bit base, merged into the 16-bit one: its answers may differ a little from those"
        " of the run",
    )
    dtype = "bfloat16" if spec.dtype == "auto" else spec.dtype
    return ExportPlan(
        Path(spec.out), True, dtype, files, 41 * GIB, int(8.1 * GIB), 33 * GIB, "memory", notes
    )


def plan_push(files: Mapping[str, int], repo: str, private: bool, old: bool = False) -> PushPlan:
    """old: it is there already, with a card and a file of somebody else."""
    full = repo if "/" in repo else f"ann/{repo}"
    sent = tuple(SentFile(name, size, old and name == "README.md") for name, size in files.items())
    account = Account("ann", ("workshop",), "write", None, "HF_TOKEN")
    others = 1 if old else 0
    return PushPlan(full, f"https://huggingface.co/{full}", account, old, private, sent, others)


class Sheet:
    """The sheet of r7, driven by keys; what it started and asked is kept."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run = trained_run(home)
        self.started: list[ExportSpec] = []
        self.queued: list[ExportSpec] = []
        self.asked: list[tuple[str, bool]] = []
        self.plan: Callable[[ExportSpec], ExportPlan] = plan_export
        self.push: Callable[[Mapping[str, int], str, bool], PushPlan] = plan_push
        self.app = FinetuneApp(
            fixed_services(
                home,
                plan_export=lambda spec: self.plan(spec),
                plan_push=self._push,
                start_task=self._start,
                enqueue_task=self._enqueue,
            ),
            demo_session(),
        )
        self.app.theme = DARK.name

    def _push(self, files: Mapping[str, int], repo: str, private: bool) -> PushPlan:
        self.asked.append((repo, private))
        return self.push(files, repo, private)

    def _start(self, spec: ExportSpec) -> RunDirectory:
        self.started.append(spec)
        return make_run(self.home, name=f"r{8 + len(self.started)}-demo", task="export")

    def _enqueue(self, spec: ExportSpec) -> Any:
        self.queued.append(spec)
        return type("Item", (), {"id": "q1"})

    async def open(self, pilot: AppPilot) -> None:
        await show(pilot, "runs")
        await settled(pilot)
        assert self.app.place is not None
        await open_export(self.app.place, self.run)
        await settled(pilot)

    @property
    def view(self) -> ExportView:
        return self.app.query_one(ExportView)

    @property
    def form(self) -> ExportForm:
        return self.app.query_one(ExportForm)

    @property
    def words(self) -> str:
        return "\n".join(lines.words for lines in self.view.query(Lines))

    def is_asking(self) -> bool:
        return isinstance(self.app.screen, AskScreen)

    async def press(self, pilot: AppPilot, *keys: str) -> None:
        for key in keys:
            await pilot.press(key)
            await settled(pilot)

    async def set(self, pilot: AppPilot, field: str, text: str) -> None:
        """Type a value into a field."""
        self.form.go_to(field)
        await self.press(pilot, "enter", *text, "enter")
