"""What a person wants of this app whatever the run: one small flat YAML file of theirs.

It is never part of a spec or a home: a home may be shared, and a spec may come from anybody. What is wrong in
it is said in a line and costs no more than that line.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import open_plain, write_atomically
from finetune_tui.core.text import did_you_mean, plain

if TYPE_CHECKING:
    import yaml

THEMES = ("dark", "light", "ansi")

_LARGEST = 2**18  # bytes
_LONGEST = 4096  # characters of one value

SettingValue = str | bool | Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Settings:
    """on_end: a shell command to run when a run ends. bell, notify, title: how an open app tells of an end:
    the terminal's bell, a notification (OSC 9), the window's title. pager: a command instead of $PAGER.
    keys: action id → keys. problems: a line for each thing in the file that could not be taken.
    """

    path: Path
    on_end: str | None = None
    bell: bool = True
    notify: bool = True
    title: bool = True
    theme: str = "dark"
    pager: str | None = None
    keys: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in SETTINGS}
        values["keys"] = dict(self.keys)
        return {"path": str(self.path), "settings": values, "problems": list(self.problems)}


def settings_path() -> Path:
    """$FINETUNE_TUI_SETTINGS, else `finetune-tui/settings.yaml` in the platform's folder for settings."""
    if chosen := os.environ.get("FINETUNE_TUI_SETTINGS"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_config_path

    return user_config_path("finetune-tui", appauthor=False).absolute() / "settings.yaml"


def read_settings(path: Path | None = None) -> Settings:
    """Never raises: what is missing or cannot be taken is as if it were not set; `problems` says so."""
    path = path or settings_path()
    try:
        return _read(path, _text_of(path))
    except UserError as error:
        return Settings(path, problems=(str(error),))


def change_setting(key: str, value: SettingValue, path: Path | None = None) -> Settings:
    """Set one key and leave every other line of the file as a person wrote it. None takes the key out.

    Raises UserError for what cannot be (an unknown key, a bad value, a file that is not YAML, which is left
    alone), WorkFailed when the file cannot be written.
    """
    path = path or settings_path()
    if key not in SETTINGS:
        raise UserError(f"'{plain(key, 60)}' is no setting", hint=_known(key))
    if value is not None:
        value = _READERS[key](value)
    before = _text_of(path)
    after = _with_line(before, path, key, value)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.resolve(), after)
    except OSError as error:
        raise WorkFailed(f"cannot be written ({error.strerror})", where=str(path)) from error
    return _read(path, after)


def _read(path: Path, text: str) -> Settings:
    """Raises UserError when the text is no list of settings."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for key_node, value_node in _entries(text, path):
        key = _node_text(key_node)
        where = f"{path}:{key_node.start_mark.line + 1}"
        try:
            if key not in SETTINGS:
                raise UserError(f"'{plain(key, 60)}' is no setting", hint=_known(key))
            value = _value_of(value_node)
            if value is not None:
                values[key] = _READERS[key](value)
        except UserError as error:
            problems.append(str(UserError(error.message, where=where, hint=error.hint)))
    return Settings(path, problems=tuple(problems), **values)


def _text_of(path: Path) -> str:
    """The file's text, empty when there is none. Raises UserError."""
    try:
        with open_plain(path) as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror or error})", where=str(path), hint="it is not used"
        ) from error
    if len(content) > _LARGEST:
        raise UserError("larger than settings can be", where=str(path))
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", where=str(path)) from None


def _entries(text: str, path: Path) -> "list[tuple[yaml.Node, yaml.Node]]":
    """The pairs of the file's one mapping. Raises UserError."""
    if not text.strip():
        return []
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"not YAML ({error.problem})", where=f"{path}:{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"not YAML ({plain(str(error), 80)})", where=str(path)) from None
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise UserError("settings are a list of `key: value` lines", where=str(path))
    entries: list[tuple[yaml.Node, yaml.Node]] = root.value
    return entries


def _node_text(node: "yaml.Node") -> str:
    return node.value if isinstance(node.value, str) else ""


def _value_of(node: "yaml.Node") -> Any:
    """The plain value of a node. Raises UserError."""
    import yaml

    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise UserError(f"not a value ({plain(str(error), 80)})") from None
    finally:
        loader.dispose()


def _with_line(text: str, path: Path, key: str, value: Any) -> str:
    """The file's text with that key set so, or without it. Raises UserError when it cannot be done safely."""
    found = [pair for pair in _entries(text, path) if _node_text(pair[0]) == key]
    if len(found) > 1:
        raise UserError(f"'{key}' is written twice", where=str(path), hint="take one out")
    if found:
        after = _replaced(text, found[0][0].start_mark.index, _end_of(found[0][1]), key, value)
    else:
        line = "" if value is None else _line(key, value) + "\n"
        after = text + ("\n" if text and not text.endswith("\n") else "") + line
    wanted = {key: _default(key) if value is None else value}
    taken = _taken(path, text)
    if taken is None or _taken(path, after) != taken | wanted:
        raise UserError("this file is to be changed by hand", where=str(path))
    return after


def _replaced(text: str, start: int, end: int, key: str, value: Any) -> str:
    """What follows the value on its line, a remark, stays when the key does."""
    rest = text[end:]
    if value is None:
        return text[:start] + (rest if text[end - 1] == "\n" else rest.partition("\n")[2])
    return text[:start] + _line(key, value) + ("\n" if text[end - 1] == "\n" else "") + rest


def _taken(path: Path, text: str) -> dict[str, Any] | None:
    try:
        settings = _read(path, text)
    except UserError:
        return None
    return {key: getattr(settings, key) for key in SETTINGS}


def _line(key: str, value: Any) -> str:
    import yaml

    written = dict(value) if isinstance(value, Mapping) else value
    line = yaml.safe_dump({key: written}, allow_unicode=True, width=2**20, sort_keys=False)
    return line.rstrip("\n")


def _end_of(node: "yaml.Node") -> int:
    """Where the last character of a value stands; the mark of a block lies past the remarks after it."""
    children = node.value if isinstance(node.value, list) else []
    if children and not getattr(node, "flow_style", False):
        last = children[-1]
        return _end_of(last[1] if isinstance(last, tuple) else last)
    index: int = node.end_mark.index
    return index


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError("a text is wanted", hint="in quotes when it holds `: ` or ` #`")
    if len(value) > _LONGEST or "\0" in value:
        raise UserError(f"a text of up to {_LONGEST} characters is wanted")
    return value.strip()


def _yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise UserError(f"yes or no is wanted, not '{plain(str(value), 40)}'")


def _theme(value: Any) -> str:
    if value not in THEMES:
        raise UserError(
            f"'{plain(str(value), 40)}' is no theme",
            hint=did_you_mean(str(value), THEMES) or f"one of {', '.join(THEMES)}",
        )
    return str(value)


def _keys(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise UserError("lines of `action: keys` are wanted")
    if len(value) > 500:
        raise UserError("more than 500 keys")
    for action, keys in value.items():
        if not isinstance(action, str) or not isinstance(keys, str | int) or keys in (True, False):
            raise UserError(
                f"'{plain(str(action), 40)}: {plain(str(keys), 40)}' is no action and its keys"
            )
    return MappingProxyType({action[:200]: str(keys)[:200] for action, keys in value.items()})


_READERS: dict[str, Callable[[Any], Any]] = {
    "on_end": _text,
    "bell": _yes_no,
    "notify": _yes_no,
    "title": _yes_no,
    "theme": _theme,
    "pager": _text,
    "keys": _keys,
}
SETTINGS = tuple(_READERS)


def _default(key: str) -> Any:
    return getattr(Settings(Path()), key)


def _known(key: str) -> str:
    return did_you_mean(key, SETTINGS) or f"settings are {', '.join(SETTINGS)}"
