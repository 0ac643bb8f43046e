"""What became of each key of another tool's file: notes, and the spec that is being written."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.fields import Field
from finetune_tui.core.tuning.importing.reading import YamlFile
from finetune_tui.core.tuning.spec import FIELDS

_SECRETS = ("token", "api_key", "apikey", "secret", "password", "credential")
_KEYS = ("hf_", "sk-", "ghp_", "glpat-")  # how secrets of well-known places begin
_DEFAULTS: Mapping[tuple[str, Any], str] = {
    ("eval_split", 0): "nothing is held out",
    ("early_stopping_patience", 0): "it never stops early",
    ("load_best_model_at_end", False): "the last step is kept, not the best",
    ("gradient_checkpointing", True): "gradient checkpointing is on",
}
_LORA = ("lora_r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora")


class Kind(StrEnum):
    """What a note is about, the gravest first."""

    UNKNOWN = "unknown"
    IMPOSSIBLE = "impossible"
    CHANGES = "changes"
    TRANSLATED = "translated"
    DEFAULT = "default"
    DROPPED = "dropped"

    @property
    def words(self) -> str:
        return _TITLES[self]


_TITLES: Mapping[Kind, str] = {
    Kind.UNKNOWN: "not understood, and left out",
    Kind.IMPOSSIBLE: "not possible here",
    Kind.CHANGES: "left out or different, and training differs by it",
    Kind.TRANSLATED: "said in other words here",
    Kind.DEFAULT: "not in the file, so the other tool's own",
    Kind.DROPPED: "left out, and nothing differs by it",
}


@dataclass(frozen=True, slots=True)
class Note:
    """key: as the file has it, a path below it. line: counted from 1; None: not in the file."""

    kind: Kind
    key: str
    line: int | None
    words: str

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind.value, "key": self.key, "line": self.line, "words": self.words}


class Draft:
    """A spec under way. values: by our keys. Every key of the file must be taken, or it is not understood."""

    def __init__(self, tool: str, file: YamlFile) -> None:
        self.tool = tool
        self.file = file
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        self._taken: set[str] = set()

    def take(self, key: str) -> Any:
        """The value of a key, None when it is not there; it is understood from now on."""
        self._taken.add(key)
        return self.file.values.get(key)

    def has(self, key: str) -> bool:
        """Whether the file says something by this key."""
        return self.file.values.get(key) is not None

    def say(self, kind: Kind, key: str, words: str) -> None:
        """A note about a key of the file, or a path below one."""
        self._taken.add(key.partition(".")[0].partition("[")[0])
        line = self.file.lines.get(key)
        self.notes.append(Note(kind, plain(key, 80), line, plain(words, 300)))

    def put(self, name: str, value: Any, key: str, words: str | None = None) -> None:
        """Set our key `name` as the file's `key` wants it; words: how it is meant, when that is to be said.

        Raises UserError, naming file, line and key, when the value cannot be.
        """
        self._taken.add(key.partition(".")[0].partition("[")[0])
        self.values[name] = self.read(name, value, key)
        if words is not None:
            self.say(Kind.TRANSLATED, key, words)

    def read(self, name: str, value: Any, key: str) -> Any:
        return self.checked(FIELDS[name], value, key)

    def checked(self, field: Field, value: Any, key: str) -> Any:
        """The value as that field holds it. Raises UserError naming file, line and key."""
        try:
            return field.read(value)
        except UserError as error:
            raise UserError(error.message, where=self.file.place(key), hint=error.hint) from None

    def wrong(self, key: str, words: str, hint: str | None = None) -> UserError:
        return UserError(words, where=self.file.place(key), hint=hint)

    def default(self, name: str, value: Any, key: str, words: str | None = None) -> None:
        """What the tool takes when the file does not say: set unless it was set, and said where it is not
        what is taken here too."""
        if name in self.values:
            return
        self.values[name] = FIELDS[name].read(value)
        if self.values[name] == FIELDS[name].default and words is None:
            return
        shown = words or _DEFAULTS.get((name, value)) or f"{plain(str(value), 40)}"
        self.notes.append(Note(Kind.DEFAULT, key, None, shown))

    def default_note(self, key: str, words: str) -> Note:
        """What the tool takes where the file does not say, and nothing is to be set for it."""
        return Note(Kind.DEFAULT, key, None, words)

    def same(self, names: Mapping[str, str]) -> None:
        """Keys that hold the same value under another name, or the same one; null says nothing."""
        for key, name in names.items():
            value = self.take(key)
            if value is not None:
                words = None if key == name else f"{name}: {self.shown(key, value)}"
                self.put(name, value, key, words)

    def without_lora(self, keys: Collection[str], words: str) -> None:
        """Take LoRA's settings back: nothing is adapted."""
        for name in _LORA:
            self.values.pop(name, None)
        self.notes = [note for note in self.notes if note.key not in keys]
        self.drop(Kind.DROPPED, dict.fromkeys(keys, words))

    def drop(self, kind: Kind, reasons: Mapping[str, str]) -> None:
        """Keys without a counterpart, with the reason; those that ask for nothing are passed over."""
        for key, words in reasons.items():
            value = self.take(key)
            if key in self.file.values and not is_nothing(value):
                self.say(kind, key, words)

    def yes(self, key: str) -> bool:
        """A key that is true or false, false when it is not there. Raises UserError."""
        value = self.take(key)
        return False if value is None else bool(self.read("packing", value, key))

    def names(self, key: str) -> tuple[str, ...]:
        """A list of texts, or text with commas. Raises UserError."""
        value = self.take(key)
        return () if value is None else tuple(self.read("tags", value, key))

    def whole(self, key: str, field: str = "max_steps") -> int | None:
        value = self.take(key)
        return None if value is None else int(self.read(field, value, key))

    @staticmethod
    def shown(key: str, value: Any) -> str:
        """A value in short; one that may be a secret is never shown."""
        if any(word in key.lower() for word in _SECRETS) or str(value).startswith(_KEYS):
            return "a secret, which is not shown"
        return plain(str_of(value), 60)

    def finish(self) -> tuple[Note, ...]:
        """All notes, the keys nobody took among them; in the order of the file within each kind."""
        for key, value in self.file.values.items():
            if key not in self._taken:
                words = "empty" if value is None else self.shown(key, value)
                self.notes.append(Note(Kind.UNKNOWN, plain(key, 80), self.file.line(key), words))
        return tuple(_ordered(self.notes))


def is_nothing(value: Any) -> bool:
    """Whether a value asks for nothing: null, false, 0, or empty."""
    return not value


def str_of(value: Any) -> str:
    """A value in short, without walking all of a large one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(str(key) for key in list(value)[:4]) + ", …}"
    if isinstance(value, list):
        return "[" + ", ".join(str_of(item)[:20] for item in value[:4]) + "]"
    return str(value)


def _ordered(notes: Iterable[Note]) -> list[Note]:
    kinds = list(Kind)
    return sorted(notes, key=lambda note: (kinds.index(note.kind), note.line or 0))
