"""What an export will write and need, known before a weight is loaded."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.export.destination import check_out, free_beside
from finetune_tui.core.hardware import Gpu, Hardware, read_hardware
from finetune_tui.core.memory.weights import precision_of, weight_bytes
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import Inspect, ModelReference, find_model, load_manifest
from finetune_tui.core.models.roles import Role
from finetune_tui.core.models.sanity import read_config_json
from finetune_tui.core.models.weights import look_at, require_whole
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.runs.events import Event, read_events
from finetune_tui.core.runs.targets import find_target, has_result, require_result
from finetune_tui.core.text import plain, size
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.task_spec import ExportSpec

# Bytes of a file of merged weights: between two of them an export can be stopped.
SHARD = 2 * 2**30
PROMPTS, LONGEST_PROMPT = 6, 64  # that merged weights are checked with, and tokens of each
_BESIDE = 300 * 2**20  # bytes: what libraries and their buffers take
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model"),
    "chat_template.jinja",
)
LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "USE_POLICY.md")


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """name: in the folder, `*` where the count is not known yet. bytes: about, for what is not a copy."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """memory: bytes held at the peak, on `device` ("memory", or a GPU by its name); 0 for an adapter.

    dtype: of merged weights, None for an adapter. *_free: None where it cannot be read. notes: what a
    person should know before.
    """

    out: Path
    merge: bool
    dtype: str | None
    files: tuple[PlannedFile, ...]
    disk_free: int | None
    memory: int
    memory_free: int | None
    device: str
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "out": str(self.out),
            "files": [asdict(file) for file in self.files],
            "bytes": self.bytes,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Trained:
    """A run whose result can be exported. started: its event, {} when there is none."""

    run: RunDirectory
    spec: Spec
    reference: ModelReference
    started: Event

    @property
    def is_checkpoint(self) -> bool:
        """Whether a checkpoint is all there is: what trained is then taken out of the model."""
        return not has_result(self.run)

    @property
    def has_adapter(self) -> bool:
        return self.run.adapter.is_dir()

    @property
    def has_own(self) -> bool:
        """Whether parameters of the model itself trained, and lie in trained.safetensors."""
        return self.run.trained.is_file()


def read_trained(run: RunDirectory) -> Trained:
    """Raises UserError when the run left nothing that could be exported."""
    require_result(run)
    spec = run.spec()
    started: Event = {}
    for event in read_events(run.events_path):
        if event["kind"] == "started":
            started = event
            break
    return Trained(run, spec, find_model(spec.model_name_or_path), started)


def plan_export(spec: ExportSpec, home: Path, inspect: Inspect) -> ExportPlan:
    """Raises UserError for what cannot be, WorkFailed for a disk or a memory too small."""
    trained = read_trained(find_target(home, spec.run))
    out = Path(spec.out)
    check_out(out)
    manifest = load_manifest(trained.reference, inspect)
    return make_plan(spec, trained, manifest, read_hardware(out))


def make_plan(
    spec: ExportSpec, trained: Trained, manifest: Manifest, hardware: Hardware
) -> ExportPlan:
    """The same for what is read already."""
    out = Path(spec.out)
    dtype = dtype_of(spec, trained) if spec.merge else None
    if dtype:
        refuse_quantised(trained.reference)
    selection = selection_of(trained.spec, manifest)
    needed = 0
    if dtype:
        needed = memory_needed(manifest, selection, dtype)
    elif trained.is_checkpoint:
        needed = weight_bytes(manifest, precision_of(trained.spec, not spec.use_cpu)) + _BESIDE
    on_cpu = spec.use_cpu or (trained.spec.use_cpu and not spec.gpus)
    gpu = None if on_cpu or not needed else _gpu_with_room(spec, hardware, needed)
    return ExportPlan(
        out=out,
        merge=spec.merge,
        dtype=dtype,
        files=tuple(_files(trained, manifest, dtype)),
        disk_free=free_beside(out),
        memory=needed,
        memory_free=gpu.free if gpu else hardware.memory_available,
        device=gpu.name or "GPU" if gpu else "memory",
        notes=tuple(_notes(trained, selection, manifest, spec)),
    )


def refuse_without_room(plan: ExportPlan) -> None:
    """Raises UserError when disk or memory are too small, in bytes."""
    if plan.disk_free is not None and plan.disk_free < plan.bytes:
        raise UserError(
            f"the export needs {size(plan.bytes)} of disk, {size(plan.disk_free)} is free there",
            where=f"out: {plain(str(plan.out), 200)}",
            hint="make room, or name a folder on another disk",
        )
    if plan.memory_free is not None and plan.memory_free < plan.memory:
        raise UserError(
            f"merging needs about {size(plan.memory)} of {plan.device}, "
            f"{size(plan.memory_free)} is free",
            where="merge",
            hint="wait until something else ends, or export the adapter: it needs none",
        )


def dtype_of(spec: ExportSpec, trained: Trained) -> str:
    """Of merged weights. "auto": as the run held its base, or computed with a quantised one."""
    for name in (spec.dtype, trained.started.get("dtype"), trained.spec.dtype):
        if name in BYTES:
            return str(name)
    return "float32" if trained.spec.use_cpu else "bfloat16"


def refuse_quantised(reference: ModelReference) -> None:
    """Raises UserError when the base was published quantised: merging goes into whole numbers alone."""
    if reference.folder is None:
        return
    require_whole(reference.folder)
    how = look_at(reference.folder).quantised
    if how:
        raise UserError(
            f"the base itself is quantised ({how}), and merging into it would lose what was learnt",
            where="merge",
            hint="export the adapter, or train on the 16-bit model",
        )


def memory_needed(manifest: Manifest, selection: Selection, dtype: str) -> int:
    """Bytes at the peak: the weights once, what trained in place once more in float32, the largest trained
    module in float32 with its change, and the logits of all prompts three times."""
    weights = BYTES[dtype] * manifest.parameters
    sizes = {name: math.prod(manifest.module(name).shape or (0,)) for name in selection.choices}
    whole = sum(sizes[name] for name in selection.names(Mode.FULL))
    largest = max(sizes.values(), default=0)
    logits = 3 * 4 * PROMPTS * LONGEST_PROMPT * manifest.config.vocabulary
    return weights + (4 + BYTES[dtype]) * whole + 3 * 4 * largest + logits + _BESIDE


def _gpu_with_room(spec: ExportSpec, hardware: Hardware, needed: int) -> Gpu | None:
    """The first GPU that was named (or is there) and has the room; without one the CPU merges."""
    named = [gpu for gpu in hardware.gpus if not spec.gpus or gpu.uuid in spec.gpus]
    return next((gpu for gpu in named if gpu.free is not None and gpu.free >= needed), None)


def _files(trained: Trained, manifest: Manifest, dtype: str | None) -> list[PlannedFile]:
    files = []
    if dtype is None:
        if trained.has_adapter:
            files += [_as_it_is(trained.run.adapter / name) for name in ADAPTER_FILES]
        if trained.has_own:
            files.append(_as_it_is(trained.run.trained))
        if trained.is_checkpoint:
            files.append(
                PlannedFile("adapter_model.safetensors", _trained_bytes(trained, manifest))
            )
    else:
        weights = BYTES[dtype] * manifest.parameters
        name = "model.safetensors" if weights <= SHARD else "model-*.safetensors"
        files.append(PlannedFile(name, weights))
        files += [PlannedFile("config.json", 2**11), PlannedFile("generation_config.json", 2**8)]
    files += [_as_it_is(path) for path in companions(trained.reference)]
    files += [
        PlannedFile(name, 2**13)
        for name in ("README.md", "Modelfile", "reproduce.py", "export.json")
    ]
    return files


def _as_it_is(path: Path) -> PlannedFile:
    return PlannedFile(path.name, path.stat().st_size if path.is_file() else 0)


def _trained_bytes(trained: Trained, manifest: Manifest) -> int:
    selection = selection_of(trained.spec, manifest)
    return 4 * trained_numbers(manifest, selection, trained.spec)


def companions(reference: ModelReference) -> list[Path]:
    """The base's files that go along as they are: its tokenizer with the chat template, its licence."""
    folder = reference.folder
    if folder is None:
        return []
    paths = [folder / name for name in (*TOKENIZER, *LICENCES)]
    return [path for path in paths if path.is_file() and path.stat().st_size < 2**28]


def _notes(
    trained: Trained, selection: Selection, manifest: Manifest, spec: ExportSpec
) -> list[str]:
    notes = []
    run = trained.spec
    if trained.is_checkpoint:
        notes.append("the run wrote no result of its own: its best whole checkpoint is exported")
    if spec.merge and (run.load_in_4bit or run.load_in_8bit):
        bits = "4-bit" if run.load_in_4bit else "8-bit"
        notes.append(
            f"trained on the {bits} base, merged into the 16-bit one: its answers may differ a little "
            "from those of the run"
        )
    if not spec.merge and trained.has_adapter and trained.has_own:
        notes.append(
            "what trained in place lies in trained.safetensors: PEFT does not load it by itself, the "
            "card shows the two lines"
        )
    roles = {manifest.module(name).role for name in selection.names(Mode.LORA)}
    if not spec.merge and roles & {Role.HEAD, Role.EMBEDDING}:
        notes.append("some servers (vLLM) refuse adapters of head or embedding: merge for those")
    if is_text_part(trained.reference):
        notes.append("of the multimodal base the text part alone was trained and is exported")
    return notes


def is_text_part(reference: ModelReference) -> bool:
    """Whether the base's files hold more than the language model that was trained."""
    if reference.folder is None:
        return False
    return isinstance(read_config_json(reference.folder).get("text_config"), dict)
