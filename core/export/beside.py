"""What lies beside the weights of an export: its card, an Ollama Modelfile, a script that trains it again.

Starred: asks the tokenizer how it writes a chat.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from finetune_tui.core.data.finding import look_up
from finetune_tui.core.data.formats import row_from
from finetune_tui.core.data.rows import Format, NotARowError
from finetune_tui.core.data.source import open_rows
from finetune_tui.core.data.tokens import answer_ends, load_tokenizer
from finetune_tui.core.data.tokens_chat import plain_chat
from finetune_tui.core.errors import UserError
from finetune_tui.core.export.card import write_card
from finetune_tui.core.export.chat_format import ChatFormat, Message, Render, chat_format
from finetune_tui.core.export.exported import Exported
from finetune_tui.core.export.facts import gather
from finetune_tui.core.export.ollama import write_modelfile
from finetune_tui.core.export.plan import Trained
from finetune_tui.core.export.script import script_of
from finetune_tui.core.files import open_plain, write_atomically
from finetune_tui.core.limits import clock
from finetune_tui.core.models.data_set_name import DataSetName
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.tuning.choices import write_choice
from finetune_tui.core.tuning.modes import Mode
from finetune_tui.core.tuning.patterns import fold
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection

_IN_TURNS = (Format.MESSAGES, Format.CONVERSATIONS)
_FIRST_LINE = 2**22  # bytes
_OPENED = 2**26


def write_beside(
    folder: Path, trained: Trained, manifest: Manifest, exported: Exported, notes: Sequence[str]
) -> None:
    """notes: what a reader should know. Raises OSError; what cannot be written otherwise is noted."""
    said = list(notes)
    selection = selection_of(trained.spec, manifest)
    modelfile = _modelfile(trained, manifest, selection, exported)
    if modelfile is None:
        said.append("no Modelfile for Ollama: its adapters hold plain LoRA alone; merge for it")
    else:
        _write(folder / "Modelfile", modelfile)
    try:
        _write(folder / "reproduce.py", script_of(trained.run, manifest, travels=True))
    except UserError as error:
        said.append(f"no script that trains it again: {error.message}")
    facts = gather(trained, folded(selection))
    _write(folder / "README.md", write_card(facts, exported, said))


def folded(selection: Selection) -> list[str]:
    """`model.layers.{0..31}.mlp.fc1: lora`, the modules of equal choice together."""
    groups: dict[str, list[str]] = {}
    for name, choice in selection.choices.items():
        written = write_choice(choice)
        if isinstance(written, dict):
            words = ", ".join(f"{key} {value}" for key, value in written.items() if key != "mode")
            written = f"{written['mode']} ({words})"
        groups.setdefault(str(written), []).append(name)
    return [f"{pattern}: {how}" for how, names in groups.items() for pattern in fold(names)]


def _modelfile(
    trained: Trained, manifest: Manifest, selection: Selection, exported: Exported
) -> str | None:
    spec = trained.spec
    is_plain_lora = not spec.use_dora and not spec.trainable_token_indices and selection.choices
    if not exported.merged and not (
        is_plain_lora and {choice.mode for choice in selection.choices.values()} == {Mode.LORA}
    ):
        return None
    reference = trained.reference
    tokenizer = load_tokenizer(reference.weights, reference.name)
    in_turns = _learnt_turns(trained)
    if in_turns is None:
        in_turns = tokenizer.chat_template is not None
    ends = sorted(answer_ends(in_turns, tokenizer))
    return write_modelfile(
        manifest.architecture,
        merged=exported.merged,
        base=reference.name if reference.kind in ("catalog", "hub") else reference.short_title,
        chat=_chat_format(tokenizer) if in_turns else None,
        asks_in_turns=in_turns,
        beginning=tokenizer.bos_token or "",
        stops=[str(tokenizer.convert_ids_to_tokens(end)) for end in ends],
    )


def _learnt_turns(trained: Trained) -> bool | None:
    """Whether the run learnt from chats; None: its data is not here, or too large to be opened for this."""
    try:
        found = look_up(trained.spec.train_files[0])
        if isinstance(found, DataSetName):
            return None
        path = found[0]
        if path.suffix in (".jsonl", ".ndjson"):
            with open_plain(path) as file:
                line = file.read(_FIRST_LINE).partition(b"\n")[0]
            return row_from(json.loads(line), path, 1).kind in _IN_TURNS
        if path.stat().st_size > _OPENED:
            return None
        return open_rows([path]).format in _IN_TURNS
    except (UserError, NotARowError, OSError, ValueError, IndexError, RecursionError):
        return None


def _chat_format(tokenizer: Any) -> ChatFormat | None:
    if tokenizer.chat_template is None:
        end = str(tokenizer.eos_token)
        return chat_format(lambda messages, answer: plain_chat(messages, answer, end))
    if "strftime_now" in str(tokenizer.chat_template):
        return None  # it writes the day of asking
    return chat_format(_renders(tokenizer))


def _renders(tokenizer: Any) -> Render:
    def render(messages: Sequence[Message], answer: bool) -> str:
        try:
            with clock():
                text = tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=answer
                )
        except (jinja2.TemplateError, TypeError, KeyError, AttributeError, MemoryError) as error:
            raise ValueError(str(error)) from error
        return str(text)

    return render


def _write(path: Path, text: str) -> None:
    write_atomically(path, text, durable=False)
