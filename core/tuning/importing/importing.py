"""A file of axolotl, LLaMA-Factory or TRL as a spec, and a note on every key that does not simply go over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model
from finetune_tui.core.tuning.importing import axolotl, llama_factory, trl
from finetune_tui.core.tuning.importing.data_sets import Sources
from finetune_tui.core.tuning.importing.notes import Draft, Note
from finetune_tui.core.tuning.importing.reading import YamlFile, parse_yaml, read_yaml_text
from finetune_tui.core.tuning.importing.targets import with_preset, with_targets
from finetune_tui.core.tuning.spec import FIELDS, Spec

TOOLS: Mapping[str, ModuleType] = {"axolotl": axolotl, "llama-factory": llama_factory, "trl": trl}
"""By the name that is typed."""

_OURS = frozenset(
    ("preset", "modules", "train_files", "eval_files", "task", "eval_replies", "memory_check")
)
_ENOUGH = 2  # telling keys


Look = Callable[[ModelReference], Manifest]
"""The manifest of a model. Raises UserError when it cannot be had now."""


@dataclass(frozen=True, slots=True)
class Imported:
    """tool: whose file it was, as typed. manifest: of the model; None when it could not be looked at."""

    tool: str
    spec: Spec
    notes: tuple[Note, ...]
    manifest: Manifest | None

    @property
    def title(self) -> str:
        return title_of(self.tool)


def import_file(path: Path, look: Look, tool: str | None = None) -> Imported:
    """The spec of another tool's file, its paths absolute. look: the manifest of a model.

    tool: whose file it is; None: told by its keys. Raises UserError, one line, with file and line: what
    is no YAML, nobody's, other work than training on text, or names nothing that could train.
    """
    file = parse_yaml(read_yaml_text(path), str(path))
    tool = tool or recognise(file) or _unsure(file)
    return translate(file, tool, path.absolute().parent, look)


def translate(
    file: YamlFile,
    tool: str,
    folder: Path,
    look: Look,
    here: Path | None = None,
) -> Imported:
    """folder: where the file lies. here: where one stands. Raises as `import_file`."""
    found = TOOLS[tool]
    draft = Draft(found.TOOL, file)
    sources = Sources(folder, here or Path.cwd(), draft)
    targets = found.translate(draft, sources)
    spec = _spec(draft, file)
    if not spec.model_name_or_path:
        raise UserError("names no model", where=file.where)
    spec = spec.anchored(folder)
    reference = _model(spec, file)
    manifest = None
    try:
        manifest = look(reference)
    except UserError as error:
        spec = with_preset(spec, targets, draft, error)
    else:
        spec = with_targets(spec, targets, manifest, draft)
    return Imported(tool, spec, draft.finish(), manifest)


def recognise(file: YamlFile) -> str | None:
    """Whose file it is by its keys; None when too few tell, or as many for two tools."""
    keys = file.values.keys()
    if keys & _OURS:
        return None
    scores = {tool: len(keys & module.keys.TELLING) for tool, module in TOOLS.items()}
    best = max(scores, key=scores.__getitem__)
    others = [score for tool, score in scores.items() if tool != best]
    return best if scores[best] >= _ENOUGH and scores[best] > max(others) else None


def other_tool(path: Path) -> str | None:
    """Whose file it is when it is surely another tool's; never raises."""
    try:
        return recognise(parse_yaml(read_yaml_text(path), str(path)))
    except UserError:
        return None


def title_of(tool: str) -> str:
    """Its name as it writes it itself."""
    return str(TOOLS[tool].TOOL)


def _spec(draft: Draft, file: YamlFile) -> Spec:
    values: dict[str, Any] = {name: value for name, value in draft.values.items() if name in FIELDS}
    try:
        return Spec().changed(**values)
    except UserError as error:
        where = f"{file.where}: {error.where}" if error.where else file.where
        raise UserError(error.message, where=where, hint=error.hint) from None


def _model(spec: Spec, file: YamlFile) -> ModelReference:
    try:
        return find_model(spec.model_name_or_path)
    except UserError as error:
        key = "base_model" if "base_model" in file.values else "model_name_or_path"
        raise UserError(error.message, where=file.place(key), hint=error.hint) from None


def _unsure(file: YamlFile) -> str:
    if file.values.keys() & _OURS:
        raise UserError(
            "a spec of this app already", where=file.where, hint="`finetune-tui train` takes it"
        )
    raise UserError(
        "whose file this is cannot be told by its keys",
        where=file.where,
        hint=f"say it: --from {', '.join(TOOLS)}",
    )
