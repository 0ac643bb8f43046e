"""The specs of the work that follows a training: comparing its result with the base, and exporting it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.data_set_name import anchored
from finetune_tui.core.text import did_you_mean, plain
from finetune_tui.core.tuning.fields import Field, fields_of, key
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import (
    naming_lines,
    parse_mapping,
    parse_spec,
    read_text,
    write_mapping,
    write_spec,
)

METRICS = ("exact", "json", "schema", "fields", "rouge-l", "regex")

DTYPES = ("auto", "float32", "bfloat16", "float16")


class _Checked:
    """What the specs below can do; each has a table of its keys."""

    __slots__ = ()

    def changed(self, **values: Any) -> Self:
        """With these keys set; text is read as its field reads it. Raises UserError."""
        fields = TASK_FIELDS[type(self)]
        read = {}
        for name, value in values.items():
            if name not in fields:
                hint = did_you_mean(name, fields) or f"there are {', '.join(fields)}"
                raise UserError("unknown key", where=plain(name, 60), hint=hint)
            read[name] = fields[name].read(value)
        return dataclasses.replace(self, **read)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True)
class CompareSpec(_Checked):
    """Base and tuned model answer the same rows. run: the trained run, a path once it is launched."""

    run: str = key("text", "the trained run: r7, or its folder", "")
    task: str = key("choice", "the piece of work", "compare", choices=("compare",))
    name: str | None = key("text", "a name for the comparison")
    note: str | None = key("text", "a line about it, for yourself")
    tags: tuple[str, ...] = key("names", "words to find it by", ())
    metrics: tuple[str, ...] = key(
        "names", "empty: what fits the expected answers", (), choices=METRICS
    )
    json_schema: str | None = key("text", "a JSON schema that answers should meet")
    regex: str | None = key("text", "a regular expression that answers should match")
    compare_files: tuple[str, ...] = key("files", "empty: the rows the run held out", ())
    forget_files: tuple[str, ...] = key(
        "files", "rows of other work, to see what was forgotten", ()
    )
    rows: int = key("whole", "rows of each; 0: all", 200, minimum=0, maximum=10**6)
    max_new_tokens: int = key(
        "whole", "0: room for the longest expected answer", 0, minimum=0, maximum=2**17
    )
    use_cpu: bool = key("yes/no", "without a GPU: slow for real models", False)
    gpus: tuple[str, ...] = key("names", "UUIDs; empty: what is visible", ())

    def anchored(self, folder: Path) -> "CompareSpec":
        """With every path made absolute, relative ones taken from `folder`."""
        schema = self.json_schema
        return dataclasses.replace(
            self,
            run=_run_from(self.run, folder),
            json_schema=None if schema is None else _path_from(schema, folder),
            compare_files=tuple(anchored(source, folder) for source in self.compare_files),
            forget_files=tuple(anchored(source, folder) for source in self.forget_files),
        )


@dataclass(frozen=True, slots=True)
class ExportSpec(_Checked):
    """A run's result in a folder of its own. run: the trained run, a path once it is launched."""

    run: str = key("text", "the trained run: r7, or its folder", "")
    out: str = key("text", "the folder to write; it must not be there yet", "")
    task: str = key("choice", "the piece of work", "export", choices=("export",))
    name: str | None = key("text", "a name for the export")
    note: str | None = key("text", "a line about it, for yourself")
    tags: tuple[str, ...] = key("names", "words to find it by", ())
    merge: bool = key("yes/no", "one whole model instead of an adapter", False)
    dtype: str = key(
        "choice", "of a merged model; auto: as the run held its base", "auto", choices=DTYPES
    )
    push_to: str | None = key("text", "a repository on the Hub: owner/name")
    private: bool = key("yes/no", "seen by its owner alone", True)
    use_cpu: bool = key("yes/no", "without a GPU", False)
    gpus: tuple[str, ...] = key("names", "UUIDs; empty: what is visible", ())

    def anchored(self, folder: Path) -> "ExportSpec":
        """With every path made absolute, relative ones taken from `folder`."""
        return dataclasses.replace(
            self, run=_run_from(self.run, folder), out=_path_from(self.out, folder)
        )


TaskSpec = CompareSpec | ExportSpec
AnySpec = Spec | CompareSpec | ExportSpec

TASK_FIELDS: Mapping[type, dict[str, Field]] = {
    kind: fields_of(kind) for kind in (CompareSpec, ExportSpec)
}


def read_task_spec(path: Path) -> AnySpec:
    """The spec of whatever work in a YAML file, its paths taken from the file's folder. Raises UserError."""
    return parse_task_spec(read_text(path), str(path)).anchored(path.absolute().parent)


def parse_task_spec(text: str, where: str = "spec") -> AnySpec:
    """The class goes by the key `task`. Raises UserError naming file, line, key and value."""
    values = parse_mapping(text, where)
    task = values.get("task")
    with naming_lines(text, where):
        if task == "compare":
            return CompareSpec().changed(**values)
        if task == "export":
            return ExportSpec().changed(**values)
    return parse_spec(text, where)


def write_task_spec(spec: AnySpec) -> str:
    """YAML that `parse_task_spec` reads back to the same spec; keys at their default are left out."""
    if isinstance(spec, Spec):
        return write_spec(spec)
    values: dict[str, Any] = {"task": spec.task}
    for name, field in TASK_FIELDS[type(spec)].items():
        value = getattr(spec, name)
        if value != field.default and name != "task":
            values[name] = list(value) if isinstance(value, tuple) else value
    return write_mapping(values)


def _run_from(run: str, folder: Path) -> str:
    """A path is made absolute; `r7` and the like stay: a home knows what they mean."""
    is_path = run.startswith((".", "~", "/")) or (run and (folder / run / "spec.yaml").is_file())
    return _path_from(run, folder) if is_path else run


def _path_from(path: str, folder: Path) -> str:
    """Raises UserError for a path that cannot be one."""
    if not path:
        return path
    try:
        return str((folder / Path(path).expanduser()).resolve())
    except (OSError, ValueError, RuntimeError):
        raise UserError(f"'{plain(path, 80)}' is no path") from None
