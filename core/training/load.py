"""Load a base model: safetensors only, no code of its own, quantised when asked."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.resolve import ModelReference
from finetune_tui.core.tuning.spec import Spec

# Where multimodal checkpoints keep their language model → where it stands when loaded on its own.
_TEXT_PART = {r"^(model\.)?language_model\.(model\.)?": "model."}

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Device:
    """Where training happens and in which dtype the frozen base is held."""

    torch_device: torch.device
    dtype: torch.dtype

    @property
    def on_gpu(self) -> bool:
        return self.torch_device.type != "cpu"


def choose_device(spec: Spec, is_demo: bool) -> Device:
    """Raises UserError when there is no GPU and nobody asked for the CPU; the demo is made for one."""
    on_gpu = torch.cuda.is_available() and not spec.use_cpu
    if not on_gpu and not spec.use_cpu and not is_demo:
        raise UserError(
            "no GPU is usable here",
            where="use_cpu",
            hint="`finetune-tui doctor` says why; use_cpu: true trains on the CPU, slowly",
        )
    if spec.dtype != "auto":
        dtype = DTYPES[spec.dtype]
    elif not on_gpu:
        dtype = torch.float32
    else:
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return Device(torch.device("cuda", 0) if on_gpu else torch.device("cpu"), dtype)


def load_base(reference: ModelReference, spec: Spec, device: Device) -> Any:
    """The frozen base model on its device, in its dtype. Raises WorkFailed when it cannot be loaded."""
    quantised = spec.load_in_4bit or spec.load_in_8bit
    try:
        whole = AutoConfig.from_pretrained(reference.weights, trust_remote_code=False)
        config = (
            whole.get_text_config()
        )  # of a multimodal model, the text part: as the manifest has it
        model, loaded = AutoModelForCausalLM.from_pretrained(
            reference.weights,
            config=config,
            key_mapping=None if config is whole else _TEXT_PART,
            output_loading_info=True,
            dtype=device.dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=attention_of(config),
            quantization_config=quantisation_of(spec, device) if quantised else None,
            device_map={"": device.torch_device} if quantised and device.on_gpu else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise WorkFailed(
            f"the model cannot be loaded ({_first_line(error)})",
            where=reference.name,
            hint="log.txt of the run has the whole story",
        ) from error
    if loaded["missing_keys"]:
        # Transformers fills them with random numbers and goes on.
        raise WorkFailed(
            f"the weights lack {len(loaded['missing_keys'])} parameters of this model, "
            f"first: {sorted(loaded['missing_keys'])[0]}",
            where=reference.name,
            hint="the files are incomplete, or of another architecture than their config says",
        )
    if quantised:
        _avoid_cpu_bugs(model)
    else:
        model.to(device.torch_device)
    model.config.use_cache = False
    model.name_or_path = reference.public_name  # PEFT writes it down as the adapter's base
    model.requires_grad_(False)
    return model


def attention_of(config: Any) -> str:
    """torch's own fused attention, said aloud: a config may name a kernel to download instead.

    Gemma 2 caps its attention scores, which that kernel cannot.
    """
    return "eager" if config.model_type == "gemma2" else "sdpa"


def quantisation_of(spec: Spec, device: Device) -> Any:
    if spec.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )


def _avoid_cpu_bugs(model: nn.Module) -> None:
    """Two of bitsandbytes 0.50.2 on CPUs.

    With AVX512-BF16, 4-bit training is wrong after any eval forward. And an 8-bit weight that DoRA has
    looked at comes back without its scales, which the next forward then takes for the real ones.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - unknown to nn.Module
        if hasattr(module, "init_8bit_state"):
            _keep_scales(module)


def _keep_scales(module: Any) -> None:
    take_over = module.init_8bit_state

    def init_8bit_state() -> None:
        if module.weight.SCB is None and module.state.SCB is not None:
            module.weight.CB = None
        else:
            take_over()

    module.init_8bit_state = init_8bit_state


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
