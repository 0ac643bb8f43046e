"""PiSSA and OLoRA: LoRA that starts from the weights' own directions, and loads on the base as it is.

Both begin with A and B that already say something (PiSSA, arXiv 2404.02948: the largest singular
directions; OLoRA, arXiv 2406.01775: the first columns of a QR decomposition) and take that part out of
the base, so that training begins exactly at the base. PEFT changes the base's weights for it: in 16 bits
that rounds, and the adapter then belongs to a base nobody else has. Here the base stays as it is and the
start is taken off the adapter's output instead:

    y = W x + s (B A - B0 A0) x

which is, without any loss, plain LoRA of twice the rank: [B, -B0] [A; A0]. As that it is saved.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from peft.utils.integrations import dequantize_module_weight
from torch.nn import functional

from finetune_tui.core.tuning.refusals import DIRECTED

_ADAPTER = "default"


def set_start(adapted: Any, how: str, seed: int) -> None:
    """Start every adapted projection as `how` says; embeddings, which have no such start, as usual.

    The same weights and seed give the same start, bit for bit: a resumed run computes it again.
    """
    if how not in DIRECTED:
        return
    for module in adapted.modules():
        if hasattr(module, "lora_A") and _ADAPTER in module.lora_A:
            _start_module(module, how, seed)


def started(adapted: Any) -> Iterator[tuple[str, Any]]:
    """The modules that did, by their names in a saved adapter."""
    for name, module in adapted.named_modules():
        if hasattr(module, "start_A"):
            yield name, module


def as_plain_lora(adapted: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An adapter's tensors with the start folded in: plain LoRA of twice the rank."""
    folded = dict(tensors)
    for name, module in started(adapted):
        a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
        folded[a] = torch.cat([tensors[a], module.start_A.to(tensors[a])])
        folded[b] = torch.cat([tensors[b], -module.start_B.to(tensors[b])], dim=1)
    return folded


def as_plain_config(adapted: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The `adapter_config.json` of such an adapter; alpha grows with the rank, so the scale stays."""
    doubled = {name for name, _ in started(adapted)}
    grown = math.sqrt(2) if config["use_rslora"] else 2
    rank, alpha = 2 * config["r"], grown * config["lora_alpha"]
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for name, module in adapted.named_modules():
        if not hasattr(module, "lora_A") or _ADAPTER not in module.r:
            continue
        own_rank, own_alpha = module.r[_ADAPTER], module.lora_alpha[_ADAPTER]
        if name in doubled:
            own_rank, own_alpha = 2 * own_rank, grown * own_alpha
        plain = name.removeprefix("base_model.model.")
        if own_rank != rank:
            ranks[plain] = own_rank
        if own_alpha != alpha:
            alphas[plain] = own_alpha
    return {
        **config,
        "init_lora_weights": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    }


def _start_module(module: Any, how: str, seed: int) -> None:
    weight = dequantize_module_weight(module.get_base_layer()).detach().float()
    if getattr(module, "fan_in_fan_out", False):
        weight = weight.T
    rank, scale = module.r[_ADAPTER], module.scaling[_ADAPTER]
    lora_a, lora_b = module.lora_A[_ADAPTER].weight, module.lora_B[_ADAPTER].weight
    with torch.no_grad():
        start_a, start_b = _directions(weight, how, rank, scale, seed)
        lora_a.data = start_a.to(lora_a.device)
        lora_b.data = start_b.to(lora_b.device)
    module.register_buffer("start_A", lora_a.detach().clone(), persistent=False)
    module.register_buffer("start_B", lora_b.detach().clone(), persistent=False)
    module.register_forward_hook(_without_start)


def _directions(
    weight: torch.Tensor, how: str, rank: int, scale: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A of (rank, inputs) and B of (outputs, rank) for a weight of (outputs, inputs), float32."""
    if how == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank].contiguous(), q[:, :rank].contiguous()
    if how == "pissa":
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
        u, s, v = u[:, :rank], s[:rank], vh[:rank].T
    else:
        iterations = int(how.rpartition("_")[2])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            u, s, v = torch.svd_lowrank(weight, q=rank, niter=iterations)
    root = torch.sqrt(s / scale)
    return (root[:, None] * v.T).contiguous(), (u * root).contiguous()


def _without_start(module: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    if module.disable_adapters:
        return output
    x = inputs[0]
    device = "cuda" if x.is_meta else x.device.type  # a simulation stands for a GPU
    if not torch.is_autocast_enabled(device):
        x = x.to(module.start_A.dtype)
    start = functional.linear(functional.linear(x, module.start_A), module.start_B)
    return output - (module.scaling[_ADAPTER] * start).to(output.dtype)
