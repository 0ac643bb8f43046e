"""The rows of a comparison: the ones a run held out, or files; as many as were asked for, evenly drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_tui.core.data.rows import Format, NotARowError, Row
from finetune_tui.core.data.source import OnProgress, Rows, open_rows
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence.comparison import Which
from finetune_tui.core.evidence.held_out import held_out_rows
from finetune_tui.core.evidence.metrics import check_judges, metrics_for
from finetune_tui.core.files import read_json
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.text import count
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.task_spec import CompareSpec

_CHATS = (Format.MESSAGES, Format.CONVERSATIONS)
_DRAWN_BY = 0
"""The seed of the draw: the same rows for the same files, so that two comparisons can be compared."""


@dataclass(frozen=True, slots=True)
class RowsToAsk:
    """files: where they came from. notes: what a person should know of them."""

    which: Which
    files: tuple[str, ...]
    rows: Sequence[Row]
    notes: tuple[str, ...]

    @property
    def are_chats(self) -> bool:
        return any(row.messages is not None for row in self.rows)


def check_compare(spec: CompareSpec, trained: RunDirectory) -> None:
    """Everything that can be wrong with a comparison and seen without torch. Raises UserError.

    Reads the data: call it in a thread.
    """
    check_judges(spec)
    about = trained.spec()
    asked = rows_to_ask(spec, about)
    for one in asked:
        metrics_for(spec, one.which, expected_texts(one))
    reference = find_model(about.model_name_or_path)
    if reference.folder is not None and not _has_template(reference.folder):
        refuse_chats(asked, about, reference.name)


def rows_to_ask(
    spec: CompareSpec, trained: Spec, progress: OnProgress | None = None
) -> tuple[RowsToAsk, ...]:
    """The rows held out (or those of `compare_files`), then those of `forget_files` when there are some.

    Raises UserError when the files cannot be read, or hold nothing that can be asked.
    """
    if spec.compare_files:
        found = [_drawn(Which.HELD_OUT, open_rows(spec.compare_files, progress=progress), spec)]
    else:
        found = [_held_out(trained, spec, progress)]
    if spec.forget_files:
        rows = open_rows(spec.forget_files, progress=progress)
        found.append(_drawn(Which.FORGETTING, rows, spec))
    return tuple(found)


def expected_texts(asked: RowsToAsk) -> list[str]:
    """What the rows to be compared expect, before any token is made of it."""
    texts = []
    for row in asked.rows:
        turns = [turn for turn in row.messages or () if turn["role"] == "assistant"]
        texts.append((turns[-1].get("content") or "") if turns else row.completion or "")
    return [text.strip() for text in texts]


def refuse_chats(asked: Sequence[RowsToAsk], trained: Spec, model: str) -> None:
    """Of a model without a chat template: where it trained on chats, it was asked in plain words, and is
    again; where it did not, nobody told it what a chat looks like. Raises UserError."""
    chats = next((one for one in asked if one.are_chats), None)
    if chats is not None and not _trained_on_chats(trained):
        raise UserError(
            f"{model} has no chat template and was not trained on chats, so chats cannot be asked",
            where=chats.files[0],
            hint="give rows with 'prompt' and 'completion'",
        )


def _trained_on_chats(trained: Spec) -> bool:
    """Whether the first file of a training holds chats."""
    if not trained.train_files:
        return False
    try:
        return open_rows(trained.train_files[:1]).format in _CHATS
    except UserError:  # the file is gone
        return False


def _has_template(folder: Path) -> bool:
    """Whether a model's folder brings a chat template; where that cannot be told, the worker finds out."""
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        about = read_json(folder / "tokenizer_config.json")
    except UserError:
        return True
    return not isinstance(about, dict) or bool(about.get("chat_template"))


def _held_out(trained: Spec, spec: CompareSpec, progress: OnProgress | None) -> RowsToAsk:
    hint = "name rows with --data FILE"
    try:
        rows = held_out_rows(trained, progress)
    except UserError as error:
        words = f"the rows that the run held out cannot be read: {error.message}"
        raise UserError(words, where=error.where, hint=hint) from error
    if not len(rows):
        key = "eval_split" if trained.train_files else "eval_files"
        raise UserError("the run held no rows out", where=key, hint=hint)
    return _drawn(Which.HELD_OUT, rows, spec)


def _drawn(which: Which, rows: Rows, spec: CompareSpec) -> RowsToAsk:
    if rows.format is Format.TEXT:
        raise UserError(
            "these rows are plain text: there is no question to ask and no answer to expect",
            where=rows.sources[0],
            hint="rows with 'prompt' and 'completion', or chats, can be compared",
        )
    places = rows.sample(spec.rows, _DRAWN_BY) if spec.rows else range(len(rows))
    notes = list(rows.notes)
    if len(places) < len(rows):
        notes.append(f"{count(len(places))} of {count(len(rows))} rows, evenly drawn")
    if rows.bad_rows:
        notes.append(f"{count(len(rows.bad_rows))} lines are no rows and were left out")
    asked: list[Row] = []
    broken = 0
    for place in places:
        try:
            asked.append(rows[place])
        except NotARowError:  # of a file too large to be read before
            broken += 1
    if broken:
        notes.append(f"{count(broken)} of the rows drawn are broken and were left out")
    if not asked:
        raise UserError("no row of these can be asked", where=rows.sources[0])
    return RowsToAsk(which, rows.sources, asked, tuple(notes))


def changed_since(trained: Spec, began: float | None) -> tuple[str, ...]:
    """The files of a training on this disk that were written after it began: what it held out may not be
    what is held out now. began: seconds since 1970."""
    if began is None:
        return ()
    files = trained.eval_files or trained.train_files
    return tuple(file for file in files if _written(Path(file)) > began)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime if path.is_file() else 0.0
    except (OSError, ValueError):
        return 0.0
