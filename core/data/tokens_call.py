"""The call `tokens`: what data files hold, counted in the tokens of one model. Starred."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from finetune_tui.core.data.report import SAMPLED, DataReport, lengths_of, report_on
from finetune_tui.core.data.rows import BadRow, BadRowError, Row
from finetune_tui.core.data.source import Rows, open_rows
from finetune_tui.core.data.tokens import Masking, TokenRow, load_tokenizer, token_row
from finetune_tui.core.data.tokens_text import end_ids
from finetune_tui.core.errors import UserError
from finetune_tui.core.limits import bounded_memory
from finetune_tui.core.models.catalog import catalog

Progress = Callable[[dict[str, Any]], None]

_LOOK_EVERY = 500  # rows between two words of progress
_LONGEST_EXAMPLE = 4000  # tokens of an example that are shown


def tokens_call(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """{"files", "weights", "name", "max_length", "completion_only_loss", "assistant_only_loss",
    "last_turn_only", "strict", "examples"} → the data report as JSON, counted in tokens, with
    "share_trained", "cut_rows", "cut_tokens" and "examples": [{"where", "tokens": [[text, trains], …],
    "cut"}, …]. Of a large file the rows looked at are drawn evenly.
    """
    with bounded_memory():
        progress({"words": "loading the tokenizer"})
        tokenizer = load_tokenizer(params["weights"], params["name"])
        rows = open_rows(params["files"], params["strict"], _told(progress, "reading"))
        counting = _Counting(tokenizer, _masking(params), params["strict"], params["examples"])
        places = rows.sample(SAMPLED) if rows.is_large else range(len(rows))
        tell = _told(progress, "tokenising")
        for done, place in enumerate(places):
            if done % _LOOK_EVERY == 0:
                tell(done, len(places))
            counting.add(rows, place)
        report = report_on(rows)
        notes = (*report.notes, *_chat_notes(rows, params["name"], tokenizer))
        return counting.answer(replace(report, notes=notes))


class _Counting:
    """Counts while rows go by."""

    def __init__(self, tokenizer: Any, masking: Masking, strict: bool, examples: int) -> None:
        self._tokenizer = tokenizer
        self._masking = masking
        self._strict = strict
        self._most_examples = examples
        self._ends = end_ids(tokenizer) | set(tokenizer.all_special_ids)
        self._lengths: list[int] = []
        self._trained = 0
        self._cut_rows = 0
        self._all_end = True
        self._examples: list[dict[str, Any]] = []
        self._refused: list[BadRow] = []

    def add(self, rows: Rows, place: int) -> None:
        """Raises UserError for an unusable row when that was asked for."""
        try:
            row = rows[place]
            tokens = self._usable(row)
        except BadRowError as error:
            self._refused.append(error.bad)
        except UserError as error:
            if self._strict:
                raise
            words = f"{error.message}; {error.hint}" if error.hint else error.message
            self._refused.append(BadRow(row.path, row.line, words))
        else:
            self._count(row, tokens)

    def answer(self, report: DataReport) -> dict[str, Any]:
        """Raises UserError when not one row could be used."""
        if not self._lengths:
            first = self._refused[0]
            raise UserError(first.error, where=f"{first.path}:{first.line}")
        total = sum(self._lengths)
        longest = self._masking.max_length
        known = {(bad.path, bad.line) for bad in report.bad_rows}
        more = [bad for bad in self._refused if (bad.path, bad.line) not in known]
        counted = replace(
            report,
            rows=report.rows - len(more),
            bad_rows=(*report.bad_rows, *more),
            lengths=lengths_of(self._lengths, "tokens"),
            tokens=total,
            trained_tokens=self._trained,
            ends_trained=self._all_end and self._cut_rows < len(self._lengths),
        )
        kept = sum(min(length, longest) for length in self._lengths)
        return {
            **counted.to_json(),
            "max_length": longest,
            "share_trained": round(self._trained / kept, 4),
            "cut_rows": self._cut_rows,
            "cut_tokens": total - kept,
            "examples": self._examples,
        }

    def _usable(self, row: Row) -> TokenRow:
        tokens = token_row(row, self._tokenizer, self._masking)
        # The first token stands after nothing: it is never learnt.
        if not tokens.trained_mask.count(1, 1):
            raise UserError("no trained tokens", where=f"{row.path}:{row.line}")
        return tokens

    def _count(self, row: Row, tokens: TokenRow) -> None:
        self._lengths.append(len(tokens) + tokens.cut)
        self._trained += tokens.trained
        self._cut_rows += tokens.cut > 0
        last = tokens.ids[tokens.trained_mask.rfind(1)]
        self._all_end = self._all_end and (tokens.cut > 0 or last in self._ends)
        if len(self._examples) < self._most_examples:
            self._examples.append(
                {
                    "where": f"{row.path}:{row.line}",
                    "tokens": list(self._texts(tokens)),
                    "cut": tokens.cut,
                }
            )

    def _texts(self, tokens: TokenRow) -> Iterator[list[Any]]:
        """Each token's own text. Tokens that share a character are told together by the first."""
        ids = tokens.ids[:_LONGEST_EXAMPLE]
        held: list[int] = []
        for token, trains in zip(ids, tokens.trained_mask, strict=False):
            held.append(token)
            text = self._tokenizer.decode(held, clean_up_tokenization_spaces=False)
            if text.endswith("\ufffd") and len(held) < 4:
                continue
            yield [text, bool(trains)]
            held = []


def _masking(params: dict[str, Any]) -> Masking:
    return Masking(
        max_length=params["max_length"],
        completion_only_loss=params["completion_only_loss"],
        assistant_only_loss=params["assistant_only_loss"],
        last_turn_only=params["last_turn_only"],
    )


def _told(progress: Progress, words: str) -> Callable[[int, int], None]:
    return lambda done, total: progress({"words": words, "done": done, "total": total})


def _chat_notes(rows: Rows, name: str, tokenizer: Any) -> Iterator[str]:
    """Chats for a model that was never taught to chat."""
    if tokenizer.chat_template is not None or rows[0].messages is None:
        return
    chatting = next((n for n in (f"{name}-Instruct", f"{name}-it") if n in catalog()), None)
    yield "this model has no chat template: chats are written as Instruct: … Output: …" + (
        f"; {chatting} has one and was taught to chat" if chatting else ""
    )
