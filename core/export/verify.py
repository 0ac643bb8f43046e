"""Is what lies on the disk the model that was trained? Its logits say so, read back by plain Transformers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetune_tui.core.errors import WorkFailed
from finetune_tui.core.export.plan import LONGEST_PROMPT, PROMPTS, Trained
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.training.load import attention_of

_DRAWN = 2  # prompts of random tokens
_SEED = 7

# Of the largest logit. In float32 only the order of sums differs; in 16 bits the merged weights are rounded
# once more, and so is every product. Measured over 24 blocks: 2e-6, 0.004 and 0.033.
_SHARES = {torch.float32: 1e-5, torch.float16: 0.015, torch.bfloat16: 0.12}


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest distance of two logits at the same place. moved: of the tuned from the base's, for scale."""

    largest: float
    tolerance: float
    moved: float
    prompts: int


def check_prompts(trained: Trained, tokenizer: Any, vocabulary: int) -> list[list[int]]:
    """Token ids: held-out prompts with their answers as the run recorded them, and two rows of random
    tokens, which reach embeddings that few texts do."""
    texts: list[str] = []
    for event in read_events(trained.run.events_path):
        if event["kind"] == "sample" and len(texts) < PROMPTS - _DRAWN:
            text = f"{event.get('prompt') or ''} {event.get('expected') or ''}"
            if text.strip() and text not in texts:
                texts.append(text)
    prompts = [list(tokenizer(text[:2000])["input_ids"])[:LONGEST_PROMPT] for text in texts]
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.randint(0, min(vocabulary, len(tokenizer)), (_DRAWN, 32), generator=generator)
    return [prompt for prompt in prompts if prompt] + drawn.tolist()


def logits_of(
    model: Any, prompts: Sequence[Sequence[int]], check: Callable[[], None]
) -> list[torch.Tensor]:
    """One (tokens, vocabulary) float32 tensor a prompt, on the CPU. check: a safe point."""
    found = []
    device = next(model.parameters()).device
    with torch.inference_mode():
        for prompt in prompts:
            check()
            ids = torch.tensor([list(prompt)], device=device)
            logits = model(input_ids=ids, use_cache=False).logits[0]
            found.append(logits.float().cpu())
    return found


def load_plain(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """As anybody would load it. Raises WorkFailed when a weight is missing or left over."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    model, loaded = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=attention_of(config),
        output_loading_info=True,
    )
    odd = [*loaded["missing_keys"], *loaded["unexpected_keys"], *loaded["mismatched_keys"]]
    if odd:
        raise WorkFailed(
            f"the merged model cannot be read back: {len(odd)} weights are missing or left over, "
            f"first: {sorted(map(str, odd))[0]}"
        )
    return model.to(device).eval()


def compare(
    wanted: Sequence[torch.Tensor],
    found: Sequence[torch.Tensor],
    base: Sequence[torch.Tensor],
    dtype: torch.dtype,
) -> Difference:
    """Raises WorkFailed when the two are further apart than rounding explains."""
    largest = max(_distance(a, b) for a, b in zip(wanted, found, strict=True))
    moved = max(_distance(a, b) for a, b in zip(wanted, base, strict=True))
    scale = max(1.0, *(float(logits.abs().max()) for logits in wanted))
    tolerance = _SHARES[dtype] * scale
    # Written so that a distance that is no number fails too.
    if not largest <= tolerance:
        raise WorkFailed(
            f"the merged model does not say what the run's does: its logits differ by {largest:.2g}, "
            f"{tolerance:.2g} is allowed, so nothing was written",
            where="merge",
            hint="export the adapter instead; float32 (`--dtype float32`) rounds less",
        )
    return Difference(largest, tolerance, moved, len(wanted))


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    distance = (one - other).abs()
    return float("nan") if bool(distance.isnan().any()) else float(distance.max())
