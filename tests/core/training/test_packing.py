"""Packed rows do not know of each other, and nothing is lost or split."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.data.tokens import IGNORED
from finetune_tui.core.training.batches import Collator
from finetune_tui.core.training.loss import use_chunked_loss
from finetune_tui.core.training.packing import Packs

from .examples import examples
from .families import FAMILIES, make_model

SHORT_WINDOW = 8  # shorter than most rows, and than every pack
WINDOWED = [
    family for family in FAMILIES if "sliding_window" in FAMILIES[family] and family != "mistral"
]
ATTENTIONS = [
    *((family, kind, None) for family in FAMILIES for kind in ("sdpa", "eager")),
    *((family, kind, SHORT_WINDOW) for family in WINDOWED for kind in ("sdpa", "eager")),
    ("mistral", "sdpa", SHORT_WINDOW),
]


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200), spare=st.integers(0, 30))
@settings(deadline=None)
def test_every_row_lies_whole_in_one_pack_that_holds_it(lengths: list[int], spare: int) -> None:
    most = max(lengths) + spare
    packs = Packs(lengths, most)
    rows = [row for pack in range(len(packs)) for row in packs[pack]]
    assert sorted(rows) == list(range(len(lengths)))
    sums = [sum(lengths[row] for row in packs[pack]) for pack in range(len(packs))]
    assert sums == list(packs.lengths)
    assert max(sums) <= most
    assert len(packs) <= 1 + 11 * -(-sum(lengths) // most) / 9 + 1  # what best fit promises


def test_best_fit_fills_what_can_be_filled() -> None:
    packs = Packs([7, 3, 6, 4, 5, 5], 10)
    assert len(packs) == 3
    assert list(packs.lengths) == [10, 10, 10]


@pytest.mark.parametrize(("family", "attention", "window"), ATTENTIONS)
def test_packed_logits_are_those_of_rows_alone(
    family: str, attention: str, window: int | None
) -> None:
    if attention == "sdpa" and family.startswith("gemma2"):
        pytest.skip("Gemma 2 is never given sdpa: it cannot cap the scores")
    model = make_model(family, **({"sliding_window": window} if window else {})).eval()
    model.set_attn_implementation(attention)
    first, second = examples(23, 1, 9), examples(14, 12, seed=5)
    batch = _inputs(Collator()([first, second]))
    assert batch["input_ids"].shape == (2, 33)  # seven tokens of padding in the second
    with torch.no_grad():
        packed = model(**batch).logits
        for number, sequence in enumerate((first, second)):
            begin = 0
            for row in sequence:
                alone = model(input_ids=torch.from_numpy(row.ids).long()[None]).logits[0]
                found = packed[number, begin : begin + len(row.ids)]
                torch.testing.assert_close(found, alone, rtol=0, atol=1e-5)
                begin += len(row.ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_needs_no_attention_mask(family: str) -> None:
    """Real tokens come out as with one: what stands to their right they never see."""
    window = {"sliding_window": SHORT_WINDOW} if family in WINDOWED else {}
    model = make_model(family, **window).eval()
    rows = examples(21, 6, 13)
    batch = _inputs(Collator()([[row] for row in rows]))
    assert batch.keys() == {"input_ids", "labels"}
    mask = torch.tensor([[1] * len(row.ids) + [0] * (21 - len(row.ids)) for row in rows])
    with torch.no_grad():
        plain = model(**batch).logits
        masked = model(**batch, attention_mask=mask).logits
    for number, row in enumerate(rows):
        count = len(row.ids)
        torch.testing.assert_close(plain[number, :count], masked[number, :count], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "qwen3-moe", "gemma2-tied"])
def test_loss_and_gradients_are_those_of_the_rows_unpacked(family: str) -> None:
    model = make_model(family)
    model.requires_grad_(True)
    use_chunked_loss(model)
    rows = examples(20, 11, 5, 17)
    apart = _step(model, Collator()([[row] for row in rows]))
    packed = _step(model, Collator()([[rows[0], rows[1]], [rows[3], rows[2]]]))
    for name, expected in apart.items():
        torch.testing.assert_close(packed[name], expected, rtol=1e-4, atol=1e-6)


def test_the_first_token_of_a_row_is_never_learnt() -> None:
    labels = Collator()([examples(5, 4), examples(6)])["labels"]
    assert labels[0, 0] == labels[0, 5] == labels[1, 0] == IGNORED
    assert (labels[1, 6:] == IGNORED).all()


def test_a_batch_says_where_its_rows_come_from_and_counts_no_padding() -> None:
    batch = Collator()([examples(5, 4), examples(6, seed=3)])
    assert batch["tokens"] == 15
    assert batch["rows"] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:1"]


def _inputs(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in ("rows", "tokens")}


def _step(model: Any, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    batch = _inputs(batch)
    items = (batch["labels"][:, 1:] != IGNORED).sum()
    loss = model(**batch, num_items_in_batch=items).loss
    loss.backward()
    return {
        "loss": loss.detach(),
        **{n: p.grad for n, p in model.named_parameters() if p.grad is not None},
    }
