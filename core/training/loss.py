"""The loss of a causal language model without its logits: in chunks, and only where a token trains.

A model's own forward makes logits for every token at once: at a vocabulary of 152 000 that is most of the
memory of a step, and most of it for tokens nobody trains. Here the head sees only hidden states whose next
token trains, some hundred at a time, and each chunk's logits are made again in the backward pass.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import CausalLMOutputWithPast

from finetune_tui.core.data.tokens import IGNORED

CHUNK_BYTES = 2**27
"""Bytes of one chunk's float32 logits. A GPU reads the whole head for each chunk: not much smaller."""
FEWEST, MOST = 128, 1024
"""Tokens of a chunk, whatever the vocabulary."""

Head = Callable[[torch.Tensor], torch.Tensor]


def use_chunked_loss(model: Any) -> str | None:
    """Let the model, or the one inside a PeftModel, compute its loss in chunks from now on.

    Its forward with labels then returns the loss alone; without labels it is the original. Returns None,
    or in words why the model keeps its own loss: its forward does more than a head and a soft cap, which
    is found by comparing both losses on a few tokens.
    """
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    backbone = getattr(causal, causal.base_model_prefix, None)
    if backbone is None or backbone is causal or causal.get_output_embeddings() is None:
        return "where its head is, is not known"
    chunked = chunked_forward(causal)
    stock, ours = _on_a_few_tokens(causal, causal.forward), _on_a_few_tokens(causal, chunked)
    # In 16 bits a product of other many rows may round otherwise.
    tolerance = 1e-4 if _half_of(causal) is None else 1e-2
    if not math.isclose(stock, ours, rel_tol=tolerance):
        return f"its own loss is another one ({stock:.4f}, in chunks {ours:.4f})"
    causal.forward = chunked
    return None


def chunked_loss(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    head: Head,
    cap: float | None = None,
    items: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """Cross-entropy of every next token that trains, in float32: a scalar.

    hidden: (rows, tokens, size). labels: (rows, tokens), IGNORED where nothing trains. cap: what soft-caps
    the logits. items: what the sum is divided by; None: by the number of tokens that train here.
    """
    following = functional.pad(labels[:, 1:], (0, 1), value=IGNORED).flatten().to(hidden.device)
    trained = following.ne(IGNORED).nonzero().squeeze(1)
    targets = following.index_select(0, trained)
    states = hidden.flatten(0, 1).index_select(0, trained)
    loss = hidden.new_zeros((), dtype=torch.float32)
    if not len(targets):
        return loss + 0.0 * states.sum()  # something to go backward through
    size = _chunk_size(len(targets), head)
    again = torch.is_grad_enabled() and size < len(targets)
    for some, wanted in zip(states.split(size), targets.split(size), strict=True):
        if again:
            loss = loss + checkpoint(_summed, some, wanted, head, cap, use_reentrant=False)
        else:
            loss = loss + _summed(some, wanted, head, cap)
    return loss / (len(targets) if items is None else items)


def chunked_forward(causal: Any) -> Callable[..., Any]:
    """The forward of a causal model with the signature of its own, which still does what has no labels."""
    original = causal.forward

    @functools.wraps(original)
    def forward(
        *arguments: Any,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **rest: Any,
    ) -> Any:
        if labels is None:
            return original(*arguments, **rest)
        backbone = getattr(causal, causal.base_model_prefix)
        hidden = backbone(*arguments, **rest)[0]
        cap = getattr(causal.config, "final_logit_softcapping", None)
        # Asked for each time: PEFT puts its own module in its place.
        head = causal.get_output_embeddings()
        loss = chunked_loss(hidden, labels, head, cap, num_items_in_batch)
        return CausalLMOutputWithPast(loss=loss)

    return forward


def _summed(
    states: torch.Tensor, targets: torch.Tensor, head: Head, cap: float | None
) -> torch.Tensor:
    """Cross-entropy of a chunk, summed. The cap is taken before float32, as the models do it."""
    logits = head(states)
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


def _chunk_size(tokens: int, head: Any) -> int:
    """As many tokens a chunk as memory allows: so more tokens never need less."""
    # PEFT's module that keeps a trained copy beside the original does not say its size.
    head = getattr(head, "original_module", head)
    vocabulary = getattr(head, "out_features", None) or 2**15
    return min(tokens, max(CHUNK_BYTES // (4 * vocabulary), FEWEST), MOST)


def _on_a_few_tokens(causal: Any, forward: Callable[..., Any]) -> float:
    """A loss in evaluation mode: nothing random is drawn."""
    device = causal.get_input_embeddings().weight.device
    ids = torch.arange(3, 15, device=device).reshape(2, 6)
    labels = ids.clone()
    labels[:, :3] = IGNORED
    was_training = causal.training
    causal.eval()
    half = _half_of(causal)
    try:
        with torch.no_grad(), torch.autocast(device.type, dtype=half, enabled=half is not None):
            return float(forward(input_ids=ids, labels=labels, num_items_in_batch=5)["loss"])
    finally:
        causal.train(was_training)


def _half_of(causal: Any) -> torch.dtype | None:
    """The 16-bit type among its parameters, which autocast then computes in."""
    halves = {p.dtype for p in causal.parameters()} & {torch.bfloat16, torch.float16}
    return halves.pop() if halves else None
