"""axolotl's `datasets`: files, formats, and the columns they are in."""

from typing import Any

from finetune_tui.core.text import plain
from finetune_tui.core.tuning.importing.data_sets import Sources, expect_columns
from finetune_tui.core.tuning.importing.notes import Draft, Kind, is_nothing, str_of

_ROLES_OF_ASSISTANT = frozenset({"assistant", "gpt", "model", "bot", "chatbot"})


def read_data(draft: Draft, sources: Sources) -> None:
    for key, name in (
        ("datasets", "train_files"),
        ("pretraining_dataset", "train_files"),
        ("test_datasets", "eval_files"),
    ):
        value = draft.take(key)
        if is_nothing(value):
            continue
        if isinstance(value, str):
            value = [{"path": value, "type": "completion"}]
        entries = value if isinstance(value, list) else [value]
        found: list[str] = []
        for number, entry in enumerate(entries):
            place = f"{key}[{number}]" if isinstance(value, list) else key
            if not isinstance(entry, dict):
                raise draft.wrong(place, f"'{plain(str_of(entry), 40)}' is no data set with a path")
            found += sources.of_entry(entry, place)
            _format(draft, entry, place)
        draft.put(name, found, key, f"{name}: {plain(', '.join(found), 200)}")
        if key == "pretraining_dataset":
            draft.say(Kind.CHANGES, key, "rows are read from files, each its own sequence")


_TAKEN_OF_ENTRY = frozenset(
    (
        *("path", "data_files", "name", "split", "type", "ds_type", "field", "field_messages"),
        *(
            "message_property_mappings",
            "message_field_role",
            "message_field_content",
            "roles_to_train",
        ),
        *("train_on_eos", "train_on_eot", "chat_template", "conversation", "roles", "field_human"),
        *("field_model", "trust_remote_code", "revision", "text_column", "field_tools"),
    )
)


def _format(draft: Draft, entry: dict[str, Any], key: str) -> None:
    """The format of a data set, and the columns it is in."""
    kind = entry.get("type")
    if isinstance(kind, dict):
        words = "rows are read as they are: no text is put around or between their fields"
        draft.say(Kind.CHANGES, f"{key}.type", words)
        fields = {
            name: kind.get(f"field_{name}") for name in ("instruction", "input", "output", "system")
        }
        expect_columns(draft, f"{key}.type", fields, {name: (name,) for name in fields})
    else:
        _named_format(draft, entry, str(kind or ""), key)
    for name, value in entry.items():
        if name not in _TAKEN_OF_ENTRY and not is_nothing(value):
            draft.say(Kind.UNKNOWN, f"{key}.{name}", draft.shown(name, value))
    if entry.get("revision"):
        draft.say(Kind.CHANGES, f"{key}.revision", "the newest version of the data set is taken")


def _named_format(draft: Draft, entry: dict[str, Any], kind: str, key: str) -> None:
    base = kind.partition(":")[0].partition(".")[0]
    place = f"{key}.type" if kind else key
    if base in ("chat_template", "sharegpt", ""):
        _chat_columns(draft, entry, key)
    elif base in ("completion", "pretrain"):
        column = entry.get("field") or entry.get("text_column")
        expect_columns(draft, f"{key}.field", {"text": column}, {"text": ("text",)})
    elif base.startswith("alpaca"):
        words = "fields as they are, without the sentences that axolotl writes around them"
        draft.say(Kind.CHANGES, place, words)
    elif base == "input_output":
        words = (
            "'segments' with labels of their own are not read: write them as prompt and completion"
        )
        draft.say(Kind.IMPOSSIBLE, place, words)
    else:
        words = f"the fields of '{plain(kind, 40)}' are read as they are, if they are known here"
        draft.say(Kind.CHANGES, place, words)


def _chat_columns(draft: Draft, entry: dict[str, Any], key: str) -> None:
    messages = entry.get("field_messages")
    expect_columns(
        draft,
        f"{key}.field_messages",
        {"messages": messages},
        {"messages": ("messages", "conversations")},
    )
    mapping = entry.get("message_property_mappings")
    properties = dict(mapping) if isinstance(mapping, dict) else {}
    properties.setdefault("role", entry.get("message_field_role"))
    properties.setdefault("content", entry.get("message_field_content"))
    at = f"{key}.message_property_mappings" if properties else key
    expect_columns(
        draft, at, properties, {"role": ("role", "from"), "content": ("content", "value")}
    )
    roles = entry.get("roles_to_train")
    if isinstance(roles, list) and not set(map(str, roles)) <= _ROLES_OF_ASSISTANT:
        words = "the assistant's turns train, no others (assistant_only_loss: false trains all)"
        draft.say(Kind.CHANGES, f"{key}.roles_to_train", words)
    for name in ("train_on_eos", "train_on_eot"):
        if entry.get(name) not in (None, "turn"):
            words = "the end token of every turn that trains is trained, no other"
            draft.say(Kind.CHANGES, f"{key}.{name}", words)
    chat_template(draft, entry.get("chat_template"), f"{key}.chat_template")
    if entry.get("conversation"):
        chat_template(draft, entry["conversation"], f"{key}.conversation")


def chat_template(draft: Draft, value: Any, key: str) -> None:
    if is_nothing(value):
        return
    name = plain(str_of(value), 40)
    if name in ("tokenizer_default", "tokenizer_default_fallback_chatml"):
        draft.say(Kind.DROPPED, key, "the model's own chat template is taken")
    else:
        words = f"the model's own chat template is taken, which may not be '{name}'"
        draft.say(Kind.CHANGES, key, words)
