"""The model that would train, on the meta device: built, quantised and adapted by the worker's own code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from bitsandbytes import functional
from bitsandbytes.nn import Params4bit
from transformers import AutoModelForCausalLM
from transformers.integrations.neftune import activate_neftune
from transformers.quantizers import AutoHfQuantizer

from finetune_tui.core.memory.estimate import Precision
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.training.apply import apply_selection
from finetune_tui.core.training.load import Device, attention_of, quantisation_of
from finetune_tui.core.training.loss import chunked_forward
from finetune_tui.core.training.recomputing import recompute_blocks
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

META = torch.device("meta")


def build(config: Any, precision: Precision, dtype: torch.dtype = torch.bfloat16) -> Any:
    """The frozen base as `load_base` would hold it: `dtype` where nothing is quantised."""
    text = config.get_text_config()
    if precision is Precision.FP32:
        dtype = torch.float32
    with META:
        model = AutoModelForCausalLM.from_config(
            text, dtype=dtype, trust_remote_code=False, attn_implementation=attention_of(text)
        )
    if precision in (Precision.INT8, Precision.NF4):
        with _own_tables():
            _quantise(model, precision, dtype)
    model.config.use_cache = False
    model.requires_grad_(False)
    return model


def _quantise(model: Any, precision: Precision, dtype: torch.dtype) -> None:
    spec = Spec(load_in_4bit=precision is Precision.NF4, load_in_8bit=precision is Precision.INT8)
    quantisation = quantisation_of(spec, Device(META, dtype))
    quantizer = AutoHfQuantizer.from_config(quantisation)
    quantizer._process_model_before_weight_loading(model, device_map=None)
    for module in model.modules():
        weight: Any = getattr(module, "weight", None)
        if type(module).__name__ in ("Linear4bit", "Linear8bitLt"):
            weight.data = weight.data.to(dtype)
            if module.bias is not None:
                module.bias.data = module.bias.data.to(dtype)
            weight._quantize(META)
        state = getattr(module, "state", None)
        if state is not None and hasattr(state, "threshold"):
            state.threshold = 0.0  # how many outliers there are, only data can tell
    quantizer._process_model_after_weight_loading(model)


@contextmanager
def _own_tables() -> Iterator[None]:
    """bitsandbytes remembers its code tables on the device it first needs them: never on this one."""
    kept = dict(functional.name2qmap)
    try:
        yield
    finally:
        functional.name2qmap.clear()
        functional.name2qmap.update(kept)


@contextmanager
def _one_copy_of_weights() -> Iterator[None]:
    """DoRA starts from a copy of each 4-bit layer, dropped at once; meta tensors of 4 bits have no copies."""
    kept = Params4bit.__deepcopy__
    Params4bit.__deepcopy__ = lambda weight, _: weight
    try:
        yield
    finally:
        Params4bit.__deepcopy__ = kept


def simulated_model(
    config: Any, manifest: Manifest, selection: Selection, spec: Spec, precision: Precision
) -> Any:
    """What `build` gives, with the selection and the loss the worker would train with."""
    model = build(config, precision)
    with _one_copy_of_weights(), _own_tables():
        # Which tokens train makes no difference.
        tokens = range(len(spec.trainable_token_indices))
        adapted = apply_selection(model, manifest, selection, spec, tuple(tokens))
    if spec.neftune_noise_alpha:
        activate_neftune(adapted, spec.neftune_noise_alpha)
    if spec.chunked_loss:
        causal = adapted.get_base_model() if hasattr(adapted, "peft_config") else adapted
        causal.forward = chunked_forward(causal)
    if spec.gradient_checkpointing:
        recompute_blocks(adapted)
    return adapted
