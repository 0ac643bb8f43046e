"""A spec as YAML: read, and written back."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.choices import write_choice
from finetune_tui.core.tuning.spec import FIELDS, Spec

_LARGEST_SPEC = 2**20


def read_spec(path: Path) -> Spec:
    """The spec in a YAML file, its paths taken from the file's folder. Raises UserError."""
    try:
        if path.stat().st_size > _LARGEST_SPEC:
            raise UserError("larger than a spec can be", where=str(path))
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return parse_spec(text, where=str(path)).anchored(path.absolute().parent)


def parse_spec(text: str, where: str = "spec") -> Spec:
    """Raises UserError naming file, key, value and the nearest valid one."""
    try:
        data = yaml.load(text, Loader=_SpecLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"not YAML ({error.problem})", where=f"{where}:{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"not YAML ({plain(str(error), 80)})", where=where) from None
    if not isinstance(data, dict):
        raise UserError("a spec is a list of `key: value` lines", where=where)
    try:
        return Spec().changed(**{str(key): value for key, value in data.items()})
    except UserError as error:
        place = f"{_line_of(error.where, text, where)}: {error.where}" if error.where else where
        raise UserError(error.message, where=place, hint=error.hint) from None


def _line_of(key: str, text: str, where: str) -> str:
    """`spec.yaml:7`: the line that the key begins, when there is one."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith((f"{key}:", f"{key} :")):
            return f"{where}:{number}"
    return where


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
