"""Another tool's YAML as plain values, and the line of every key; bounded whatever the file holds."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import open_plain
from finetune_tui.core.text import plain

LARGEST = 2**18
"""Bytes of a file; real ones have some thousand."""
_MOST_VALUES = 20_000  # aliases counted each time they are used
_DEEPEST = 40
_MOST_OPEN = 200  # brackets
_NESTING = re.compile(r"[\[\]{}]")
_DASHES = re.compile(rf"(?:[-?:][ \t]+){{{_MOST_OPEN}}}")
_TAG = "tag:yaml.org,2002:"
_TEXTS = frozenset({"str", "timestamp"})
_MERGE = f"{_TAG}merge"


@dataclass(frozen=True, slots=True)
class YamlFile:
    """values: null, true or false, numbers, text, lists and mappings with text as keys. lines: of every key
    by its path (`datasets[0].type`), counted from 1. where: the file's name, for a person."""

    values: Mapping[str, Any]
    lines: Mapping[str, int]
    where: str

    def line(self, path: str) -> int:
        return self.lines.get(path, 1)

    def place(self, path: str) -> str:
        """`config.yaml:7: micro_batch_size`."""
        return f"{self.where}:{self.line(path)}: {plain(path, 80)}"


def read_yaml(path: Path) -> YamlFile:
    """Raises UserError, one line."""
    return parse_yaml(read_yaml_text(path), str(path))


def read_yaml_text(path: Path) -> str:
    """Raises UserError for what is no file of text, or larger than any such file."""
    try:
        with open_plain(path) as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UserError("larger than such a file can be", where=str(path))
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", where=str(path)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no such name"
        raise UserError(f"cannot be read ({why})", where=plain(str(path), 300)) from None


def parse_yaml(text: str, where: str) -> YamlFile:
    """Anchors, aliases and `<<` are followed. A key written twice, a tag of Python's or anybody's, more
    values than a person could have meant: UserError."""
    if len(text) > LARGEST:
        raise UserError("larger than such a file can be", where=where)
    refuse_depth(text, where)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        made = _Making(where)
        values = made.value(node, "", 0)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = plain(str(error.problem or "broken"), 120)
        raise UserError(f"not YAML ({problem})", where=f"{where}:{line}") from None
    except RecursionError:
        raise UserError("not YAML (nested too deeply)", where=where) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UserError(f"not YAML ({plain(str(error), 80)})", where=where) from None
    if not isinstance(values, dict):
        raise UserError("not a list of `key: value` lines", where=where)
    return YamlFile(values, made.lines, where)


def refuse_depth(text: str, where: str) -> None:
    """What is nested beyond reason takes PyYAML minutes before it gives up."""
    depth = 0
    for found in _NESTING.finditer(text):
        depth += 1 if found.group() in "[{" else -1
        if depth > _MOST_OPEN:
            line = text.count("\n", 0, found.start()) + 1
            raise UserError("not YAML (nested too deeply)", where=f"{where}:{line}")
    if _DASHES.search(text):
        raise UserError("not YAML (nested too deeply)", where=where)


class _Making:
    """Values out of nodes; every value counts, an alias as often as it is used."""

    def __init__(self, where: str) -> None:
        self.lines: dict[str, int] = {}
        self._where = where
        self._count = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node | None, path: str, depth: int) -> Any:
        self._count += 1
        if node is None:
            return None
        if self._count > _MOST_VALUES:
            raise self._wrong(node, f"stands for more than {_MOST_VALUES} values")
        if depth > _DEEPEST:
            raise self._wrong(node, "is nested too deeply, or in itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._refuse_tag(node, "map" if isinstance(node, yaml.MappingNode) else "seq")
        if isinstance(node, yaml.SequenceNode):
            return [
                self._item(item, f"{path}[{number}]", depth)
                for number, item in enumerate(node.value)
            ]
        return self._mapping(node, path, depth)

    def _item(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path, depth + 1)

    def _mapping(self, node: Any, path: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, key, item in self._pairs(node, depth):
            below = f"{path}.{name}" if path else name
            self.lines[below] = key.start_mark.line + 1
            made[name] = self.value(item, below, depth + 1)
        return made

    def _pairs(self, node: Any, depth: int) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Name, key and value of a mapping; what `<<` brings first, which its own keys override."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, item in node.value:
            if key.tag == _MERGE:
                for source in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                    if not isinstance(source, yaml.MappingNode) or depth > _DEEPEST:
                        raise self._wrong(key, "`<<` takes a mapping")
                    for name, inner, value in self._pairs(source, depth + 1):
                        self._count += 1
                        if self._count > _MOST_VALUES:
                            raise self._wrong(key, f"stands for more than {_MOST_VALUES} values")
                        merged.setdefault(name, (inner, value))
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self._wrong(key, "a key is a single word")
            if key.value in own:
                raise self._wrong(key, f"'{plain(key.value, 40)}' is written twice")
            own[key.value] = (key, item)
        for name, (key, item) in (merged | own).items():
            yield name, key, item

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in _TEXTS:
            return node.value
        if kind == "null":
            return None
        if kind == "bool":
            return self._scalars.construct_yaml_bool(node)
        if kind == "int":
            return self._scalars.construct_yaml_int(node)
        if kind == "float":
            return self._scalars.construct_yaml_float(node)
        if kind == "value":  # a lone `=`
            return node.value
        raise self._no_tag(node)

    def _refuse_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._no_tag(node)

    def _no_tag(self, node: yaml.Node) -> UserError:
        tag = plain(node.tag.replace(_TAG, "!!"), 60)
        return self._wrong(node, f"tags such as {tag} are not read: a setting is no code")

    def _wrong(self, node: yaml.Node, words: str) -> UserError:
        return UserError(words, where=f"{self._where}:{node.start_mark.line + 1}")
