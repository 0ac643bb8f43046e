"""Services: everything the screens ask of the machine, injected so that screens are tested as pictures."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from finetune_tui.core.data.report import DataReport
    from finetune_tui.core.data.token_report import TokenQuestion, TokenReport
    from finetune_tui.core.doctor import Finding
    from finetune_tui.core.evidence.chat import Chat, Where
    from finetune_tui.core.evidence.chat_room import ChatRoom
    from finetune_tui.core.export.plan import ExportPlan
    from finetune_tui.core.export.push_plan import PushPlan
    from finetune_tui.core.hardware import Gpu, Hardware
    from finetune_tui.core.memory.simulated import Simulation
    from finetune_tui.core.memory.simulating import SimulationQuestion
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.core.models.resolve import ModelReference
    from finetune_tui.core.models.weights import Cached
    from finetune_tui.core.runs.directory import RunDirectory
    from finetune_tui.core.runs.hook import HookResult
    from finetune_tui.core.runs.pace import Prediction
    from finetune_tui.core.runs.queue import QueueItem
    from finetune_tui.core.runs.rehearsal import Rehearsal
    from finetune_tui.core.settings import Settings
    from finetune_tui.core.tuning.spec import Spec
    from finetune_tui.core.tuning.task_spec import ExportSpec, TaskSpec


class ReadData(Protocol):
    """progress: called with bytes done and in all; what it raises ends the reading."""

    def __call__(
        self, sources: Sequence[str | Path], progress: Callable[[int, int], None] | None = None
    ) -> "DataReport": ...


@dataclass(frozen=True, slots=True)
class Services:
    """All may block; call them in a thread. Each raises UserError when the request cannot be met.

    home: where runs live. clock: seconds since 1970. scan_models: which of these Hub ids are on this
    disk. start_run: makes a run of the spec and starts its supervisor. resume_run: ends a hold, or
    starts it again. request: drops a request for a run's worker. count_tokens: says how far it is in
    words; raises soon after the event is set. read_settings: the person's own, never raises.
    change_setting: one of them by its name, kept. examine: what this machine can do
    (seconds). rehearse: a few real steps; says its progress, and raises RehearsalCancelled soon after
    the last function is true. foresee: what an earlier rehearsal measured, and how long it will take.
    simulate: a step without weights, its progress in words; raises soon after the event is set.
    enqueue: checks a spec and puts it at the end of the queue, which is then worked off.
    start_queue: its runner, when there is none. keep_queue_running: one that was killed; what a person
    should know of it. try_hook: runs that command as at the end of a run, up to a minute.
    notice_ends: runs that ended and nobody told: they are told now. start_task, enqueue_task: as start_run
    and enqueue, for the comparison or the export of a run. chat: who answers, with nothing loaded yet.
    chat_room: whether the model of a run can answer there now. plan_export: what an export would write and
    need. plan_push: what would be sent where and who would see it; asks the Hub, changes nothing.
    measured_context: bytes that CUDA takes on that GPU as runs here measured it, None: never measured.
    """

    home: Path
    clock: Callable[[], float]
    read_hardware: Callable[[], "Hardware"]
    load_manifest: Callable[["ModelReference"], "Manifest"]
    scan_models: Callable[[Iterable[str]], "dict[str, Cached]"]
    start_run: Callable[["Spec"], "RunDirectory"]
    resume_run: Callable[["RunDirectory"], None]
    request: Callable[["RunDirectory", str], None]
    read_data: ReadData
    count_tokens: Callable[["TokenQuestion", Callable[[str], None], threading.Event], "TokenReport"]
    list_runs: Callable[[], "list[RunDirectory]"]
    examine: Callable[[], "list[Finding]"]
    rehearse: Callable[["Spec", Callable[[str], None], Callable[[], bool]], "Rehearsal"]
    foresee: Callable[["Spec"], "tuple[Rehearsal | None, Prediction | None]"]
    measured_context: Callable[["Gpu | None"], int | None]
    simulate: Callable[["SimulationQuestion", Callable[[str], None], threading.Event], "Simulation"]
    read_settings: Callable[[], "Settings"]
    change_setting: Callable[[str, str | bool | None], "Settings"]
    enqueue: Callable[["Spec"], "QueueItem"]
    start_queue: Callable[[], None]
    keep_queue_running: Callable[[], str | None]
    try_hook: Callable[[str], "HookResult"]
    notice_ends: Callable[[], "list[RunDirectory]"]
    start_task: Callable[["TaskSpec"], "RunDirectory"]
    enqueue_task: Callable[["TaskSpec"], "QueueItem"]
    chat: Callable[[], "Chat"]
    chat_room: Callable[["RunDirectory", "Where"], "ChatRoom"]
    plan_export: Callable[["ExportSpec"], "ExportPlan"]
    plan_push: Callable[[Mapping[str, int], str, bool], "PushPlan"]


def real_services(home: Path) -> Services:
    """This machine, with runs in `home`. Imports only when asked, so that the first paint is early."""
    import time

    def read_hardware() -> "Hardware":
        from finetune_tui.core.hardware import read_hardware

        return read_hardware(home)

    def list_runs() -> "list[RunDirectory]":
        from finetune_tui.core.runs.directory import list_runs

        return list_runs(home)

    def examine() -> "list[Finding]":
        from finetune_tui.core.doctor import examine

        return examine(home)

    def start_run(spec: "Spec") -> "RunDirectory":
        from finetune_tui.core.calls.client import inspect_folder
        from finetune_tui.core.runs.launch import launch

        return launch(home, spec, inspect_folder)

    def resume_run(run: "RunDirectory") -> None:
        from finetune_tui.core.runs.start import resume_run

        resume_run(run)

    def request(run: "RunDirectory", kind: str) -> None:
        from finetune_tui.core.runs.requests import drop_request

        drop_request(run, kind)

    def read_data(
        sources: Sequence[str | Path], progress: Callable[[int, int], None] | None = None
    ) -> "DataReport":
        from finetune_tui.core.data.report import report_of

        return report_of(sources, progress=progress)

    def count_tokens(
        question: "TokenQuestion", progress: Callable[[str], None], cancelled: threading.Event
    ) -> "TokenReport":
        from finetune_tui.core.data.token_report import TokenReport
        from finetune_tui.tui.counting import ask_tokens

        return TokenReport.from_json(question, ask_tokens(question, progress, cancelled))

    def load_manifest(reference: "ModelReference") -> "Manifest":
        from finetune_tui.core.calls.client import inspect_folder
        from finetune_tui.core.models.resolve import load_manifest

        return load_manifest(reference, inspect_folder)

    def scan_models(names: Iterable[str]) -> "dict[str, Cached]":
        from finetune_tui.core.models.weights import scan_cache

        return scan_cache(names)

    def rehearse(
        spec: "Spec", progress: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> "Rehearsal":
        from finetune_tui.core.calls.client import inspect_folder
        from finetune_tui.core.runs.rehearsal import rehearse

        return rehearse(home, spec, inspect_folder, progress, cancelled)

    def foresee(spec: "Spec") -> "tuple[Rehearsal | None, Prediction | None]":
        from finetune_tui.core.runs.pace import predict
        from finetune_tui.core.runs.rehearsal import kept_rehearsal

        return kept_rehearsal(home, spec), predict(home, spec)

    def settings() -> "Settings":
        from finetune_tui.core.settings import read_settings

        return read_settings()

    def change_setting(name: str, value: str | bool | None) -> "Settings":
        from finetune_tui.core.settings import change_setting

        return change_setting(name, value)

    def measured_context(gpu: "Gpu | None") -> int | None:
        from finetune_tui.core.memory.calibration import context_for

        return context_for(home, gpu)

    def simulate(
        question: "SimulationQuestion", progress: Callable[[str], None], cancelled: threading.Event
    ) -> "Simulation":
        from finetune_tui.core.memory.simulating import ask_simulation

        return ask_simulation(question, progress, cancelled)

    def enqueue(spec: "Spec") -> "QueueItem":
        from finetune_tui.core.calls.client import inspect_folder
        from finetune_tui.core.runs.launch import launch_later

        return launch_later(home, spec, inspect_folder)

    def start_queue() -> None:
        from finetune_tui.core.runs.running_queue import start_runner

        start_runner(home)

    def keep_queue_running() -> str | None:
        from finetune_tui.core.runs.running_queue import keep_running

        return keep_running(home)

    def try_hook(command: str) -> "HookResult":
        from finetune_tui.core.runs.hook import try_hook

        return try_hook(home, command)

    def notice_ends() -> "list[RunDirectory]":
        from finetune_tui.core.runs.untold import notice_ends

        return notice_ends(home)

    def start_task(spec: "TaskSpec") -> "RunDirectory":
        from finetune_tui.core.runs.launch import launch_task

        return launch_task(home, spec)

    def enqueue_task(spec: "TaskSpec") -> "QueueItem":
        from finetune_tui.core.runs.launch import launch_task_later

        return launch_task_later(home, spec)

    def chat() -> "Chat":
        from finetune_tui.core.evidence.chat import ChatProcess

        return ChatProcess()

    def chat_room(run: "RunDirectory", where: "Where") -> "ChatRoom":
        from finetune_tui.core.evidence.chat_room import chat_room

        return chat_room(run, where, read_hardware(), list_runs())

    def plan_export(spec: "ExportSpec") -> "ExportPlan":
        from finetune_tui.core.calls.client import inspect_folder
        from finetune_tui.core.export.plan import plan_export

        return plan_export(spec, home, inspect_folder)

    def plan_push(files: Mapping[str, int], repo: str, private: bool) -> "PushPlan":
        from finetune_tui.core.export.push_plan import plan_push

        return plan_push(files, repo, private)

    return Services(
        home=home,
        clock=time.time,
        read_hardware=read_hardware,
        load_manifest=load_manifest,
        scan_models=scan_models,
        start_run=start_run,
        resume_run=resume_run,
        request=request,
        read_data=read_data,
        count_tokens=count_tokens,
        list_runs=list_runs,
        examine=examine,
        rehearse=rehearse,
        foresee=foresee,
        measured_context=measured_context,
        simulate=simulate,
        read_settings=settings,
        change_setting=change_setting,
        enqueue=enqueue,
        start_queue=start_queue,
        keep_queue_running=keep_queue_running,
        try_hook=try_hook,
        notice_ends=notice_ends,
        start_task=start_task,
        enqueue_task=enqueue_task,
        chat=chat,
        chat_room=chat_room,
        plan_export=plan_export,
        plan_push=plan_push,
    )
