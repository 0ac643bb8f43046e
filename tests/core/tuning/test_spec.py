"""The spec: read, checked, written back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.aliases import ALIASES
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import PRESETS
from finetune_tui.core.tuning.reasons import REASONS
from finetune_tui.core.tuning.resolve import selection_of, with_selection
from finetune_tui.core.tuning.selection import Selection, refusal
from finetune_tui.core.tuning.spec import FIELDS, Spec, demo_spec
from finetune_tui.core.tuning.spec_file import parse_spec, read_spec, write_spec

PHI2 = catalog()["microsoft/phi-2"].manifest()
ADAPTABLE = [m.name for m in PHI2.modules if refusal(PHI2, m.name, Mode.LORA) is None]


def refused(text: str) -> str:
    with pytest.raises(UserError) as error:
        selection_of(parse_spec(text, "s.yaml"), PHI2)
    return str(error.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_demo_spec_survives_a_round_trip(preset: str) -> None:
    assert parse_spec(write_spec(demo_spec(preset))) == demo_spec(preset)


@given(
    r=st.integers(1, 4096),
    rate=st.floats(1e-9, 1, allow_nan=False),
    steps=st.integers(1, 10**9),
    four=st.booleans(),
    name=st.none() | st.text(min_size=1).filter(lambda text: bool(text.strip())),
    files=st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), max_size=3),
)
def test_any_spec_survives_a_round_trip(
    r: int, rate: float, steps: int, four: bool, name: str | None, files: list[str]
) -> None:
    spec = Spec().changed(
        lora_r=r,
        learning_rate=rate,
        max_steps=steps,
        load_in_4bit=four,
        name=name,
        train_files=files,
    )
    assert parse_spec(write_spec(spec)) == spec


@given(st.dictionaries(st.sampled_from(ADAPTABLE), st.integers(0, 64), max_size=20))
def test_a_selection_survives_a_round_trip(ranks: dict[str, int]) -> None:
    selection = Selection()
    for name, r in ranks.items():
        selection = selection.set([name], Choice(Mode.LORA, r=r) if r else LORA)
    if not selection.choices:
        return
    spec = with_selection(Spec(model_name_or_path="microsoft/phi-2"), selection, PHI2)
    assert selection_of(parse_spec(write_spec(spec)), PHI2) == selection


@given(st.text())
def test_any_text_is_a_spec_or_one_clear_line(text: str) -> None:
    try:
        parse_spec(text)
    except UserError as error:
        assert "\n" not in str(error)


def test_yaml_reads_2e_4_as_text_and_the_field_reads_a_number() -> None:
    assert parse_spec("learning_rate: 2e-4").learning_rate == 2e-4


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_other_tools_names_are_read_and_written_canonically(alias: str, name: str) -> None:
    field = FIELDS[name]
    value = {
        "text": "demo",
        "whole": "64",
        "number": "0.5",
        "choice": field.choices[-1] if field.choices else None,
        "yes/no": "false" if field.default else "true",
        "names": "[a]",
    }[field.kind]
    spec = parse_spec(f"{alias}: {value}")
    assert spec == parse_spec(f"{name}: {value}") != Spec()
    assert parse_back(spec) - {"- a"} == {"task", name}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("group_by_length: true", {"train_sampling_strategy": "group_by_length"}),
        ("group_by_length: false", {}),
        ("bf16: true\nfp16: false", {"dtype": "bfloat16"}),
        ("bf16: auto", {}),
        ("fp16: true", {"dtype": "float16"}),
        ("quantization_bit: 4", {"load_in_4bit": True}),
        ("train_on_inputs: true", {"completion_only_loss": False}),
        ("train_on_inputs: false", {"completion_only_loss": True}),
        ("pissa_init: true", {"init_lora_weights": "pissa_niter_16"}),
        ("lora_target: all", {"preset": "all-linear"}),
        ("lora_target: q_proj,v_proj", {"preset": "attention-qv"}),
        ("target_modules: [v_proj, q_proj]", {"preset": "attention-qv"}),
        ("lora_target_linear: true", {"preset": "all-linear"}),
        ("use_gradient_checkpointing: unsloth", {"gradient_checkpointing": True}),
        ("optimizer: adamw_8bit", {"optim": "adamw_8bit"}),
        ("early_stop_patience: 5", {"early_stopping_patience": 5}),
    ],
)
def test_other_tools_values_are_read_too(theirs: str, ours: dict[str, object]) -> None:
    assert parse_spec(theirs) == Spec().changed(**ours)


def test_every_key_says_why_its_default_is_what_it_is() -> None:
    assert REASONS.keys() == FIELDS.keys()
    for field in FIELDS.values():
        assert 10 < len(field.why) <= 100
        assert field.help


def test_the_default_rank_is_where_the_guide_starts_and_alpha_twice_that() -> None:
    spec = Spec()
    assert (spec.lora_r, spec.lora_alpha) == (8, 16)
    assert "start at 8" in FIELDS["lora_r"].help
    assert spec.lora_alpha / spec.lora_r == 2


def parse_back(spec: Spec) -> set[str]:
    return {line.partition(":")[0] for line in write_spec(spec).splitlines()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lora_rr: 3", "did you mean 'lora_r'"),
        ("lora_r: 3.5", "lora_r: 3.5 is not a whole number"),
        ("lora_r: 0", "between 1 and 4096"),
        ("learning_rate: fast", "learning_rate: 'fast' is not a number"),
        ("learning_rate: .nan", "finite"),
        ("optim: adamw_8bits", "did you mean 'adamw_8bit'"),
        ("load_in_4bit: true\nload_in_8bit: true", "keep one"),
        ("a: 1\na: 2", "s.yaml:2"),
        ("[1, 2", "s.yaml:1: not YAML"),
        ("just words", "key: value"),
        ("preset: structurd-output", "did you mean 'structured-output'"),
        ("lora_r: 8", "nothing is selected"),
        ("modules: [{lm_head: lara}]", "did you mean 'lora'"),
        ("modules: [{lm_hed: lora}]", "did you mean 'lm_head'"),
        ("modules: [{'model.layers.{0..40}.mlp.fc1': lora}]", "model.layers.32.mlp.fc1"),
        ("modules: [{'model.layers.{0..3.mlp.fc1': lora}]", "braces"),
        ("modules: [{lm_head: frozen}]", "nothing would train"),
        ("modules: [{model.layers.0.mlp: full}]", "no parameters of its own"),
        ("load_in_4bit: true\nmodules: [{model.layers.0.mlp.fc1: full}]", "quantised"),
        ("modules: [{model.final_layernorm: lora}]", "LayerNorm"),
        ("modules: [{lm_head: {mode: lora, rank: 3}}]", "unknown key 'rank'"),
        ("modules: [{lm_head: {mode: full, r: 3}}]", "LoRA's alone"),
        ("preset: full\nload_in_4bit: true", "cannot be full: its weights are quantised"),
        ("preset: attention-only-top-4\nload_in_8bit: true", "cannot be full"),
        ("preset: attention-refinement\nmodules: [{lm_head: lora}]", "names none of the modules"),
        ("max_steps: 0", "0 steps"),
        ("eval_steps: 2.5", "2 for so many steps"),
        ("save_steps: 1.5", "neither a share"),
        ("lr: 1e-4\nlearning_rate: 2e-4", "lr and learning_rate both set it"),
        ("bf16: true\nfp16: true", "bf16 and fp16 both set it"),
        ("lora_target: [q_proj, lm_head]", "all-linear"),
        ("quantization_bit: 3", "not 4 or 8"),
        ("group_by_length: perhaps", "not true or false"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    assert says in refused(text)


def test_the_first_matching_line_wins() -> None:
    spec = parse_spec(
        "modules:\n"
        "- model.layers.31.mlp.fc2: {mode: lora, r: 32, lora_alpha: 64}\n"
        "- model.layers.{0..31}.mlp.fc2: lora\n"
        "- model.layers.0.mlp.fc2: frozen\n"
    )
    selection = selection_of(spec, PHI2)
    assert selection.choices["model.layers.31.mlp.fc2"].r == 32
    assert selection.mode("model.layers.0.mlp.fc2") is Mode.LORA


def test_a_preset_alone_stays_a_preset_and_a_change_is_spelled_out() -> None:
    spec = Spec(model_name_or_path="microsoft/phi-2", preset="personas")
    selection = selection_of(spec, PHI2)
    assert with_selection(spec, selection, PHI2).modules == ()
    less = selection.set(["lm_head"], None)
    changed = with_selection(spec, less, PHI2)
    assert changed.preset == "personas"
    assert selection_of(changed, PHI2) == less


def test_paths_are_taken_from_the_specs_folder(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("model: demo\ntrain_files: [data/a.jsonl]\n")
    assert read_spec(tmp_path / "s.yaml").train_files == (str(tmp_path / "data/a.jsonl"),)


@pytest.mark.parametrize(
    ("source", "anchored"),
    [
        ("hf://datasets/owner/name", "hf://datasets/owner/name"),
        ("owner/name", "hf://datasets/owner/name"),
        ("here/folder", "{here}/here/folder"),
        ("data/a.jsonl", "{here}/data/a.jsonl"),
        ("/absolute/rows.csv", "/absolute/rows.csv"),
    ],
)
def test_a_source_means_the_same_from_everywhere(
    source: str, anchored: str, tmp_path: Path
) -> None:
    (tmp_path / "here" / "folder").mkdir(parents=True)
    spec = Spec().changed(train_files=[source]).anchored(tmp_path)
    assert spec.train_files == (anchored.format(here=tmp_path),)


def test_a_missing_or_binary_spec_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_spec(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_spec(tmp_path / "b.yaml")
