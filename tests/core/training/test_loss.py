"""The chunked loss is the model's own: the same number, the same gradients, from fewer logits."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from finetune_tui.core.data.tokens import IGNORED
from finetune_tui.core.training import loss
from finetune_tui.core.training.loss import chunked_loss, use_chunked_loss

from .families import FAMILIES, make_model

TIED = [family for family in FAMILIES if family.endswith("-tied")]
UNTIED = [family for family in FAMILIES if family not in TIED]
CASES = [
    *((family, how) for family in UNTIED for how in ("lora", "dora", "saved")),
    *((family, "full") for family in FAMILIES),
]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "FEWEST", 5)
    monkeypatch.setattr(loss, "MOST", 5)


@pytest.mark.parametrize(("family", "how"), CASES)
def test_loss_and_every_gradient_are_the_models_own(family: str, how: str) -> None:
    model = _trainable(family, how)
    stock = _loss_and_gradients(model)
    assert use_chunked_loss(model) is None
    chunked = _loss_and_gradients(model)
    assert stock.keys() == chunked.keys()
    assert len(stock) > 2
    for name, expected in stock.items():
        apart = (chunked[name] - expected).norm()
        assert apart <= 1e-5 * expected.norm() + 1e-9, name


@pytest.mark.parametrize("family", ["qwen2", "gemma2-tied"])
def test_under_autocast_and_checkpointing(family: str) -> None:
    model = _trainable(family, "lora" if family in UNTIED else "full")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stock = _loss_and_gradients(model)
        assert use_chunked_loss(model) is None
        chunked = _loss_and_gradients(model)
    for name, expected in stock.items():
        torch.testing.assert_close(chunked[name], expected, rtol=0.05, atol=2e-3)


def test_accumulated_batches_weigh_by_their_tokens() -> None:
    model = _trainable("llama", "lora")
    use_chunked_loss(model)
    ids, labels = _batch()
    items = int((labels[:, 1:] != IGNORED).sum())
    whole = model(input_ids=ids, labels=labels, num_items_in_batch=torch.tensor(items)).loss
    parts = [
        model(input_ids=ids[i : i + 1], labels=labels[i : i + 1], num_items_in_batch=items).loss
        for i in range(len(ids))
    ]
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(model(input_ids=ids, labels=labels).loss, whole)


def test_without_labels_the_logits_are_there() -> None:
    model = _trainable("phi", "lora").eval()
    ids, _ = _batch()
    before = model(input_ids=ids).logits
    use_chunked_loss(model)
    torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=0, atol=0)
    reply = model.generate(input_ids=ids[:1, :6], max_new_tokens=3, do_sample=False)
    assert reply.shape[1] > 6


def test_only_trained_tokens_reach_the_head_and_one_chunk_at_a_time() -> None:
    model = _trainable("llama", "full")
    use_chunked_loss(model)
    seen: list[int] = []
    model.lm_head.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[0]))
    ids, labels = _batch()
    model(input_ids=ids, labels=labels).loss.backward()
    trained = int((labels[:, 1:] != IGNORED).sum())
    forward = seen[: len(seen) // 2]
    assert sum(forward) == trained
    assert max(seen) <= 5
    assert sorted(seen[len(seen) // 2 :]) == sorted(forward)  # made again, going backward


def test_nothing_to_train_is_a_loss_of_zero() -> None:
    hidden = torch.randn(2, 4, 8, requires_grad=True)
    labels = torch.full((2, 4), IGNORED)
    found = chunked_loss(hidden, labels, nn.Linear(8, 16), items=7)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == 0
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_a_model_that_does_more_keeps_its_own_loss() -> None:
    model = make_model("llama")
    original = model.forward

    def scaled(*arguments: Any, **rest: Any) -> Any:
        output = original(*arguments, **rest)
        output["loss"] = output["loss"] * 1.01  # say, of logits that are scaled after the head
        return output

    model.forward = scaled
    why = use_chunked_loss(model)
    assert why is not None
    assert "another one" in why
    assert model.forward is scaled


def test_router_losses_keep_the_models_own_forward() -> None:
    model = make_model("qwen3-moe", output_router_logits=True, router_aux_loss_coef=0.5)
    assert use_chunked_loss(model) is not None


def _trainable(family: str, how: str) -> Any:
    model = make_model(family)
    if how == "full":
        model.requires_grad_(True)
        return model.train()
    torch.manual_seed(2)
    names = sorted({name.rpartition(".")[2] for name, m in model.named_modules() if _linear(m)})
    saved = ["lm_head"] if how == "saved" else None
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        target_modules=[name for name in names if not (saved and name == "lm_head")],
        modules_to_save=saved,
        use_dora=how == "dora",
        init_lora_weights=False,
    )
    return get_peft_model(model, config).train()


def _linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 700, (3, 17), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) < 0.4, IGNORED)
    return ids, labels


def _loss_and_gradients(model: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    ids, labels = _batch()
    found = model(input_ids=ids, labels=labels, num_items_in_batch=11).loss
    found.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": found.detach(), **gradients}
