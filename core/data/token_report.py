"""What data files hold in the tokens of one model: the question and the answer of the call `tokens`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.data.report import Lengths
from finetune_tui.core.data.rows import BadRow

EXAMPLES = 20
"""Rows that are shown token by token."""


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """All that the answer depends on. sources: files, folders or data sets. max_length: in tokens."""

    sources: tuple[str, ...]
    model: str
    max_length: int
    completion_only_loss: bool
    assistant_only_loss: bool
    last_turn_only: bool
    strict: bool

    def params(self, weights: str, name: str, examples: int = EXAMPLES) -> dict[str, Any]:
        """What the call is given. weights: where the tokenizer lies. name: what it says in errors."""
        return {
            "files": list(self.sources),
            "weights": weights,
            "name": name,
            "max_length": self.max_length,
            "completion_only_loss": self.completion_only_loss,
            "assistant_only_loss": self.assistant_only_loss,
            "last_turn_only": self.last_turn_only,
            "strict": self.strict,
            "examples": examples,
        }


@dataclass(frozen=True, slots=True)
class TokenExample:
    """One row as the model reads it. where: `file:line`. tokens: the text of each, and whether it trains.

    cut: tokens that max_length took off its end.
    """

    where: str
    tokens: tuple[tuple[str, bool], ...]
    cut: int


@dataclass(frozen=True, slots=True)
class TokenReport:
    """The answer. Of large files it speaks of `looked_at` rows only.

    rows: usable ones. share_trained: of the tokens that max_length leaves. cut_rows, cut_tokens: what
    it takes. ends_trained: whether the end token is learnt wherever a row is not cut.
    """

    question: TokenQuestion
    rows: int
    bad_rows: tuple[BadRow, ...]
    looked_at: int
    tokens: int
    trained_tokens: int
    share_trained: float
    ends_trained: bool
    cut_rows: int
    cut_tokens: int
    lengths: Lengths
    notes: tuple[str, ...]
    examples: tuple[TokenExample, ...]

    @classmethod
    def from_json(cls, question: TokenQuestion, answer: dict[str, Any]) -> "TokenReport":
        lengths = answer["lengths"]
        bars = tuple((upper, number) for upper, number in lengths["histogram"])
        return cls(
            question=question,
            rows=answer["rows"],
            bad_rows=tuple(
                BadRow(Path(bad["file"]), bad["line"], bad["error"]) for bad in answer["bad_rows"]
            ),
            looked_at=answer["looked_at"],
            tokens=answer["tokens"],
            trained_tokens=answer["trained_tokens"],
            share_trained=answer["share_trained"],
            ends_trained=answer["ends_trained"],
            cut_rows=answer["cut_rows"],
            cut_tokens=answer["cut_tokens"],
            lengths=Lengths(**{**lengths, "histogram": bars}),
            notes=tuple(answer["notes"]),
            examples=tuple(
                TokenExample(
                    made["where"],
                    tuple((text, trains) for text, trains in made["tokens"]),
                    made["cut"],
                )
                for made in answer["examples"]
            ),
        )
