"""Bytes of the frozen weights on the models whose figures are published, to the byte."""

import pytest

from finetune_tui.core.memory.estimate import Precision, weight_bytes
from finetune_tui.core.models.catalog import catalog


@pytest.mark.parametrize(
    ("model", "nf4", "int8"),
    [
        ("microsoft/phi-2", 1_824_639_744, 3_045_734_400),
        ("microsoft/Phi-3.5-mini-instruct", 2_263_988_736, 4_022_343_680),
        ("Qwen/Qwen2.5-1.5B", 1_143_140_752, 1_779_813_376),
        ("meta-llama/Llama-3.1-8B", 5_702_540_160, 9_086_705_664),
    ],
)
def test_weight_bytes_to_the_byte(model: str, nf4: int, int8: int) -> None:
    manifest = catalog()[model].manifest()
    assert weight_bytes(manifest, Precision.NF4) == nf4
    assert weight_bytes(manifest, Precision.INT8) == int8
    assert weight_bytes(manifest, Precision.BF16) == 2 * manifest.parameters


def test_packed_experts_are_not_quantised() -> None:
    moe = catalog()["Qwen/Qwen3-30B-A3B"].manifest()
    packed = sum(module.parameters for module in moe.modules if module.is_packed)
    assert weight_bytes(moe, Precision.NF4) > 2 * packed
