"""Put what was learnt into the weights of a freshly loaded 16- or 32-bit base, in place.

One module at a time is summed in float32 and rounded once. Nothing here knows a quantised base.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, modeling_utils

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.export.plan import SHARD

Tell = Callable[[int, int], None]
"""done, total; may raise to end the work."""

_ADAPTER = "default"


def merge_in_place(model: Any, dtype: torch.dtype, trained: Sequence[str], tell: Tell) -> Any:
    """The plain Transformers model with every trained number in its own weights, all in `dtype`.

    model: PEFT's, or a plain one that holds what trained already. trained: modules that did, by the
    manifest. Raises WorkFailed when a merged number is none.
    """
    if hasattr(model, "peft_config"):
        layers = [module for module in model.modules() if _is_lora(module)]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # that what is merged is merged; that ties end (see _tie)
            for done, layer in enumerate(layers):
                tell(done, len(layers))
                _merge_layer(layer, dtype)
            model = model.merge_and_unload()
    _cast(model, dtype)
    _tie(model)
    _refuse_no_numbers(model, trained)
    return model


def write_model(model: Any, folder: Path, tell: Tell) -> None:
    """Weights as safetensors in pieces, with config and generation config; nothing of this machine.

    tell: bytes, between two files.
    """
    config = model.config
    config.use_cache = True  # off while it trained
    for name in ("auto_map", "quantization_config"):  # code that does not come along
        if hasattr(config, name):
            delattr(config, name)
    # Written under the names of this class, not those of the multimodal files it may come from.
    vars(model).pop("_weight_conversions", None)
    if model.can_generate():
        # Transformers refuses to write settings that contradict themselves, as some published ones do.
        model.generation_config = GenerationConfig.from_model_config(config)
    total = sum(_bytes(parameter) for parameter in model.parameters())
    with _told(folder, total, tell):
        model.save_pretrained(folder, max_shard_size=SHARD)


def _is_lora(module: Any) -> bool:
    return hasattr(module, "lora_A") and bool(len(module.lora_A) or len(module.lora_embedding_A))


def _merge_layer(layer: Any, dtype: torch.dtype) -> None:
    weight = layer.get_base_layer().weight
    weight.data = weight.data.float()
    layer.merge(safe_merge=False)
    if hasattr(layer, "start_A"):  # of a checkpoint: see `training.starts`
        weight.data -= layer.scaling[_ADAPTER] * (layer.start_B @ layer.start_A)
    if not bool(torch.isfinite(weight.data).all()):
        raise _no_numbers("the adapter", "the merged weights")
    weight.data = weight.data.to(dtype)


def _cast(model: Any, dtype: torch.dtype) -> None:
    """What trained in float32 to the dtype of the others; what a model keeps in float32 by itself stays."""
    kept = [
        *(getattr(model, "_keep_in_fp32_modules", None) or ()),
        *(getattr(model, "_keep_in_fp32_modules_strict", None) or ()),
    ]
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not set(name.split(".")) & set(kept):
            parameter.data = parameter.data.to(dtype)


def _tie(model: Any) -> None:
    """Head and embedding are one where they hold the same numbers and the base ties them; where they
    differ, the config says so."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embedding is None:
        return
    config = model.config
    if not getattr(model.config, "tie_word_embeddings", False) and not _was_tied(model):
        return
    same = head.weight is embedding.weight or (
        head.weight.shape == embedding.weight.shape and torch.equal(head.weight, embedding.weight)
    )
    if same:
        head.weight = embedding.weight
    config.tie_word_embeddings = same


def _was_tied(model: Any) -> bool:
    """Whether this class can tie at all; PEFT may have said in the config that it does not any more."""
    return bool(getattr(model, "_tied_weights_keys", None))


def _refuse_no_numbers(model: Any, trained: Sequence[str]) -> None:
    for name in trained:
        for own, parameter in model.get_submodule(name).named_parameters(recurse=False):
            if not bool(torch.isfinite(parameter).all()):
                raise _no_numbers(f"{name}.{own}", "what trained")


def _no_numbers(what: str, where: str) -> WorkFailed:
    return WorkFailed(
        f"{what} makes numbers that are not finite in this dtype",
        where=where,
        hint="float32 (`--dtype float32`) holds larger ones; if it says the same, the training broke",
    )


@contextlib.contextmanager
def _told(folder: Path, total: int, tell: Tell) -> Iterator[None]:
    """Between two files of `save_pretrained` somebody may be told, or stop it."""
    save = modeling_utils.safe_save_file

    def save_file(tensors: Any, filename: Any, *rest: Any, **more: Any) -> None:
        tell(min(_written(folder), total - 1), total)
        save(tensors, filename, *rest, **more)

    modeling_utils.safe_save_file = save_file
    try:
        yield
    finally:
        modeling_utils.safe_save_file = save


def _written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _bytes(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()
