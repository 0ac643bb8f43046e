"""A spec as YAML: read, and written back."""

import contextlib
import os
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import open_plain
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.choices import write_choice
from finetune_tui.core.tuning.importing.reading import refuse_depth
from finetune_tui.core.tuning.spec import FIELDS, Spec
from finetune_tui.core.tuning.tasks import OTHER_TASKS

_LARGEST_SPEC = 2**20  # bytes
_MOST_VALUES = 100_000


def read_spec(path: Path) -> Spec:
    """The spec of a training in a YAML file, its paths taken from the file's folder. Raises UserError."""
    return parse_spec(read_text(path), where=str(path)).anchored(path.absolute().parent)


def parse_spec(text: str, where: str = "spec") -> Spec:
    """Raises UserError naming file, key, value and the nearest valid one."""
    values = parse_mapping(text, where)
    task = str(values.get("task"))
    if task in OTHER_TASKS:
        raise UserError(
            f"{OTHER_TASKS[task]}, not a training",
            where=where_of("task", text, where),
            hint=f"`finetune-tui {task} RUN` does that work",
        )
    with naming_lines(text, where):
        return Spec().changed(**values)


def read_text(path: Path) -> str:
    """The text of a file that should be a spec. Raises UserError."""
    try:
        with open_plain(path) as file:
            if os.fstat(file.fileno()).st_size > _LARGEST_SPEC:
                raise UserError("larger than a spec can be", where=str(path))
            return file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path)) from error


def parse_mapping(text: str, where: str) -> dict[str, Any]:
    """The keys and values of YAML text, as YAML reads them. Raises UserError naming the line."""
    refuse_depth(text, where)
    try:
        data = yaml.load(text, Loader=_SpecLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"not YAML ({error.problem})", where=f"{where}:{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"not YAML ({plain(str(error), 80)})", where=where) from None
    if not isinstance(data, dict):
        raise UserError("a spec is a list of `key: value` lines", where=where)
    _refuse_endless(data, where)
    return {str(key): value for key, value in data.items()}


def _refuse_endless(data: Any, where: str) -> None:
    """Raises UserError for what aliases make larger than any spec, or put into itself."""
    waiting, seen = [data], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES:
            raise UserError(f"more than {_MOST_VALUES:,} values, so it is not read", where=where)
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


@contextlib.contextmanager
def naming_lines(text: str, where: str) -> Iterator[None]:
    """An error about a key says on which line of the text the key stands: `spec.yaml:7: lora_r`."""
    try:
        yield
    except UserError as error:
        place = where_of(error.where, text, where) if error.where else where
        raise UserError(error.message, where=place, hint=error.hint) from None


def where_of(key: str, text: str, where: str) -> str:
    """`spec.yaml:7: lora_r`; without the line where no line begins with the key."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith((f"{key}:", f"{key} :")):
            return f"{where}:{number}: {key}"
    return f"{where}: {key}"


def write_spec(spec: Spec) -> str:
    """YAML that `parse_spec` reads back to the same spec; keys at their default are left out."""
    values: dict[str, Any] = {}
    for name, entry in FIELDS.items():
        value = getattr(spec, name)
        if name == "modules":
            value = [{pattern: write_choice(choice)} for pattern, choice in spec.modules]
        elif isinstance(value, tuple):
            value = list(value)
        if getattr(spec, name) != entry.default or name == "task":
            values[name] = value
    return write_mapping(values)


def write_mapping(values: dict[str, Any]) -> str:
    """YAML of these lines, in this order."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


class _SpecLoader(yaml.SafeLoader):
    """Safe YAML in which a key written twice is an error: one of the two would silently lose."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"'{plain(str(key), 40)}' is written twice",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merged again and again, a few lines would fill the memory."""
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(
                    problem="`<<` is not read in a spec: write its lines out",
                    problem_mark=key_node.start_mark,
                )
        super().flatten_mapping(node)
