"""The architecture report and the difference of two models, against what the guide says."""

import json

import pytest

from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.difference import difference, difference_report
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.report import attention_kind, block_kinds, parts, report


def manifest_of(model: str) -> Manifest:
    return catalog()[model].manifest()


@pytest.mark.parametrize("model", catalog())
def test_parts_sum_to_all_and_the_report_is_markdown(model: str) -> None:
    manifest = manifest_of(model)
    assert sum(parts(manifest).values()) == manifest.parameters
    assert "other" not in parts(manifest)
    text = report(manifest)
    assert text.startswith(f"# {model}\n")
    for title in ("Blocks", "Names", "Parameters", "Sanity checks", "Freezing recipes"):
        assert f"\n## {title}\n" in text
    assert f"the parts sum to {manifest.parameters:,}: as torch counts" in text
    for table in text.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines()}) == 1


def test_qwen_as_the_guide_has_it() -> None:
    text = report(manifest_of("Qwen/Qwen2.5-1.5B"))
    assert "28 blocks, `model.layers.0` to `model.layers.27`, all alike" in text
    assert "attention: grouped-query, 12/2 heads of 128" in text
    assert "norm: RMSNorm (Qwen2RMSNorm)" in text
    assert "MLP: SwiGLU" in text
    assert "- biases: `q_proj`, `k_proj`, `v_proj`\n" in text
    assert "tied: `model.embed_tokens.weight` = `lm_head.weight`" in text
    assert "| 4 (blocks 24–27) | 22,028,288 (1.4%) | 8,192 (0.00053%) |" in text
    assert "`model.layers.0.self_attn.q_proj.bias`" in text


def test_phi2_has_one_norm_for_both_and_biases_everywhere() -> None:
    text = report(manifest_of("microsoft/phi-2"))
    assert "side by side behind one norm" in text
    assert "multi-head, 32 heads of 80" in text
    assert "norm: LayerNorm\n" in text
    assert "rotary over 40% of each head" in text
    assert "no bias" not in text


def test_fused_and_packed_are_said() -> None:
    phi = report(manifest_of("microsoft/Phi-3.5-mini-instruct"))
    assert "fused: `qkv_proj` holds query, key, value" in phi
    assert "BitFit would train nothing" in phi
    assert "stretched from 4,096 tokens" in phi
    moe = report(manifest_of("Qwen/Qwen3-30B-A3B"))
    assert "packed: 96 parameters hold 95.0% of the model" in moe
    assert "experts: 128, 8 of them for a token" in moe


def test_kinds_of_blocks() -> None:
    assert len(block_kinds(manifest_of("Qwen/Qwen3-30B-A3B"))) == 1
    assert attention_kind(manifest_of("google/gemma-3-1b-it")) == "multi-query, 4/1 heads of 256"


def test_a_model_without_blocks_has_a_report() -> None:
    whole = manifest_of("demo")
    bare = Manifest(
        model="b|ad\x1b[31m\n# name", architecture="X", family="unknown", config=whole.config,
        modules=whole.modules[:1],
    )  # fmt: skip
    text = report(bare)
    assert "No list of blocks" in text
    assert "\x1b" not in text
    assert text.splitlines()[0].startswith("# b|ad")


def test_phi2_against_phi35() -> None:
    found = difference(
        manifest_of("microsoft/phi-2"), manifest_of("microsoft/Phi-3.5-mini-instruct")
    )
    rows = {(row.section, row.what): row for row in found.rows}
    blocks = rows["Blocks and kinds", "blocks"]
    assert (blocks.a, blocks.b, blocks.differs) == (32, 32, False)
    assert (rows["Names by role", "query"].a, rows["Names by role", "query"].b) == ("q_proj", None)
    assert rows["Names by role", "qkv"].b == "qkv_proj"
    assert rows["Names by role", "attention output"].a == "dense"
    total = rows["Parameters", "all"]
    assert (total.a, total.b) == (2_779_683_840, 3_821_079_552)
    assert "model.layers.*.mlp.fc1" in found.only_a
    assert "model.layers.*.mlp.gate_up_proj" in found.only_b
    assert "model.layers.*.mlp" not in found.only_a + found.only_b
    text = difference_report(found)
    assert "| ≠ | norm | LayerNorm | Phi3RMSNorm |" in text
    assert json.loads(json.dumps(found.to_json()))["rows"][0]["differs"] is True


def test_a_model_does_not_differ_from_itself() -> None:
    twin = difference(manifest_of("Qwen/Qwen3-4B"), manifest_of("Qwen/Qwen3-4B"))
    assert not any(row.differs for row in twin.rows)
    assert twin.only_a == twin.only_b == ()
