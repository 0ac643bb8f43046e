"""Single tokens of a spec as ids of the tokenizer's vocabulary."""

from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec

_KEY = "trainable_token_indices"


def trained_tokens(spec: Spec, tokenizer: Any) -> tuple[int, ...]:
    """The ids in the spec's order. Raises UserError for text that is not one token of this model."""
    ids: dict[int, str] = {}
    for asked in spec.trainable_token_indices:
        token = int(asked) if asked.isdecimal() else _id_of(asked, tokenizer)
        if token in ids:
            raise UserError(
                f"'{plain(ids[token], 40)}' and '{plain(asked, 40)}' are the same token, {token}",
                where=_KEY,
                hint="once is enough",
            )
        ids[token] = asked
    return tuple(ids)


def _id_of(text: str, tokenizer: Any) -> int:
    """A token by its own name (`<|call|>`, `Ġhello`), else text that is written with one token."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if text in vocabulary:
        return vocabulary[text]
    pieces: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if len(pieces) != 1:
        raise UserError(
            f"'{plain(text, 40)}' is {len(pieces)} tokens of this model, not one",
            where=_KEY,
            hint=f"name those that are to train: {', '.join(map(str, pieces[:8]))}",
        )
    return pieces[0]
