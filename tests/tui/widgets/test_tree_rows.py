"""The folded tree as plain rows."""

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.manifest import Manifest, Module
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.selection import Selection, trainable_parameters
from finetune_tui.tui.widgets.tree_figures import Figures
from finetune_tui.tui.widgets.tree_rows import Rows
from finetune_tui.tui.widgets.tree_shape import TreeShape

PHI = catalog()["microsoft/phi-2"].manifest()


@pytest.fixture
def rows() -> Rows:
    return Rows(TreeShape(PHI))


def labels(rows: Rows) -> list[str]:
    return [row.label for row in rows.rows]


def go_to(rows: Rows, label: str) -> None:
    rows.go(labels(rows).index(label))


def test_identical_blocks_are_one_row_and_containers_on_the_way_are_none(rows: Rows) -> None:
    assert labels(rows) == [
        "embed_tokens",
        "layers.0–31",
        "self_attn",
        "q_proj",
        "k_proj,v_proj",
        "dense",
        "mlp",
        "fc1",
        "fc2",
        "input_layernorm",
        "single blocks",
        "final_layernorm",
        "lm_head",
    ]
    assert [row.depth for row in rows.rows] == [0, 0, 1, 2, 2, 2, 1, 2, 2, 1, 1, 0, 0]


def test_a_folded_row_stands_for_the_same_module_in_every_block(rows: Rows) -> None:
    go_to(rows, "fc2")
    assert rows.row.names == tuple(f"model.layers.{block}.mlp.fc2" for block in range(32))


def test_single_blocks_open_one_by_one(rows: Rows) -> None:
    go_to(rows, "single blocks")
    rows.inward()
    rows.inward()
    rows.move(7)
    assert rows.row.label == "layers.7"
    rows.inward()
    rows.inward()
    assert rows.row.names == ("model.layers.7.self_attn",)
    assert rows.shape.targets(rows.row) == tuple(
        f"model.layers.7.self_attn.{leaf}" for leaf in ("q_proj", "k_proj", "v_proj", "dense")
    )


def test_blocks_that_differ_are_parted() -> None:
    modules = tuple(
        Module(module.name, "Other", module.role, module.own, module.parameters)
        if module.name == "model.layers.5.mlp"
        else module
        for module in PHI.modules
    )
    changed = Manifest(
        PHI.model, PHI.architecture, PHI.family, PHI.config, modules, PHI.tied, PHI.blocks_at
    )
    tops = [row.label for row in TreeShape(changed).top()]
    assert tops[1:4] == ["layers.0–4", "layers.5", "layers.6–31"]


def test_folding_keeps_what_was_open_inside(rows: Rows) -> None:
    before = labels(rows)
    go_to(rows, "layers.0–31")
    rows.outward()
    assert labels(rows) == ["embed_tokens", "layers.0–31", "final_layernorm", "lm_head"]
    rows.inward()
    assert labels(rows) == before


def test_folding_a_row_above_keeps_the_cursor_on_its_row(rows: Rows) -> None:
    go_to(rows, "lm_head")
    rows.fold(1)
    assert rows.row.label == "lm_head"
    rows.unfold(1)
    assert rows.row.label == "lm_head"


def test_folding_over_the_cursor_takes_it_along(rows: Rows) -> None:
    go_to(rows, "fc1")
    rows.fold(1)
    assert rows.row.label == "layers.0–31"


def test_stepping_out_leads_to_the_row_above(rows: Rows) -> None:
    go_to(rows, "fc2")
    rows.outward()
    assert rows.row.label == "mlp"


def test_the_cursor_stays_inside(rows: Rows) -> None:
    rows.move(-5)
    assert rows.cursor == 0
    rows.go(10**9)
    assert rows.row.label == "lm_head"


def test_a_range_acts_on_each_module_once(rows: Rows) -> None:
    go_to(rows, "mlp")
    rows.mark()
    rows.move(2)
    assert [row.label for row in rows.marked()] == ["mlp", "fc1", "fc2"]
    assert len(rows.marked_targets()) == 64
    rows.mark()
    assert [row.label for row in rows.marked()] == ["fc2"]


def test_toggling_all_blocks_leaves_norms_alone(rows: Rows) -> None:
    go_to(rows, "layers.0–31")
    assert len(rows.marked_targets()) == 6 * 32


@pytest.mark.parametrize(
    ("words", "first", "found"),
    [
        ("fc", "fc1", 2),
        ("value", "v_proj", 1),
        ("LayerNorm", "input_layernorm", 2),
        ("HEAD", "lm_head", 1),
    ],
)
def test_finding_by_name_role_and_class(rows: Rows, words: str, first: str, found: int) -> None:
    assert rows.find(words) == found
    assert rows.row.label == first


def test_finding_goes_round_both_ways(rows: Rows) -> None:
    seen = []
    for step in (1, 1, 1, -1, -1):
        rows.find("fc", step)
        seen.append(rows.row.label)
    assert seen == ["fc1", "fc2", "fc1", "fc2", "fc1"]


def test_a_block_number_finds_the_single_block(rows: Rows) -> None:
    assert rows.find("layers.7.mlp.fc2") == 1
    assert rows.row.names == ("model.layers.7.mlp.fc2",)


def test_nothing_found_moves_nothing(rows: Rows) -> None:
    go_to(rows, "fc1")
    assert rows.find("zebra") == 0
    assert rows.find("   ") == 0
    assert rows.row.label == "fc1"


def test_figures_add_up() -> None:
    shape = TreeShape(PHI)
    selection = resolve_preset("structured-output", PHI).selection
    figures = Figures(shape, selection, 16)
    top = shape.top()
    assert sum(figures.parameters(row) for row in top) == PHI.parameters
    assert sum(figures.trained(row) for row in top) == trainable_parameters(PHI, selection, 16)


def test_the_mode_of_a_row_says_whether_all_agree() -> None:
    rows = Rows(TreeShape(PHI))
    fc1 = [f"model.layers.{block}.mlp.fc1" for block in range(32)]
    go_to(rows, "fc1")
    row = rows.row

    def word(selection: Selection) -> str:
        return Figures(rows.shape, selection, 16).mode(row).short

    assert word(Selection()) == "·"
    assert word(Selection().set(fc1, LORA)) == "lora16"
    assert word(Selection().set(fc1[:3], LORA)) == "~"
    assert word(Selection().set(fc1, LORA).set(fc1[:1], Choice(Mode.LORA, 8))) == "lora~"


def test_norms_of_a_block_share_a_row_when_there_are_several() -> None:
    norm = next(module for module in PHI.modules if module.role is Role.NORM)
    modules: list[Module] = []
    for module in PHI.modules:
        modules.append(module)
        if module.name.endswith("input_layernorm"):
            second = module.name.replace("input_", "post_")
            modules.append(Module(second, norm.cls, Role.NORM, norm.own, norm.parameters))
    twice = Manifest(
        PHI.model, PHI.architecture, PHI.family, PHI.config, tuple(modules), (), PHI.blocks_at
    )
    rows = Rows(TreeShape(twice))
    go_to(rows, "norms")
    rows.inward()
    rows.inward()
    assert rows.row.label == "input_layernorm"
    assert len(rows.row.names) == 32


QWEN = catalog()["Qwen/Qwen2.5-1.5B"].manifest()
MOE = catalog()["Qwen/Qwen3-30B-A3B"].manifest()


@pytest.mark.parametrize("name", sorted(catalog()))
@pytest.mark.parametrize("preset", ["structured-output", "attention-only-top-4", "full"])
def test_the_rows_add_up_to_what_trains_on_every_model(name: str, preset: str) -> None:
    manifest = catalog()[name].manifest()
    shape = TreeShape(manifest)
    try:
        selection = resolve_preset(preset, manifest).selection
    except UserError:
        pytest.skip("the preset means nothing here")
    figures = Figures(shape, selection, 16)
    top = shape.top()
    assert sum(figures.parameters(row) for row in top) == manifest.parameters
    assert sum(figures.trained(row) for row in top) == trainable_parameters(manifest, selection, 16)


def test_a_tied_head_shows_the_mode_of_its_matrix_and_adds_nothing() -> None:
    shape = TreeShape(QWEN)
    head = shape.top()[-1]
    assert shape.alias_of(head) == "model.embed_tokens"
    figures = Figures(shape, Selection().set(["model.embed_tokens"], Choice(Mode.FULL)), 16)
    assert (figures.mode(head).short, figures.trained(head)) == ("full", 0)
    assert shape.targets(head, Mode.FULL) == ()


def test_packed_experts_are_rows_that_stay_frozen() -> None:
    rows = Rows(TreeShape(MOE))
    assert rows.find("packed experts") or rows.find("gate_up_proj")
    assert rows.shape.module(rows.row).is_packed
    assert not rows.shape.targets(rows.row, Mode.FULL)


def test_modes_reach_what_can_have_them(rows: Rows) -> None:
    go_to(rows, "layers.0–31")
    lora, full, bias = (
        len(rows.marked_targets(mode)) for mode in (Mode.LORA, Mode.FULL, Mode.BIAS)
    )
    assert (lora, full, bias) == (32 * 6, 32 * 7, 32 * 7)


@pytest.mark.parametrize(
    ("words", "first", "found"),
    [
        ("full", "fc1", 1),
        ("lora8", "dense", 1),
        ("mlp frozen", "fc2", 1),
        ("lyrs31fc2", "fc2", 1),
    ],
)
def test_finding_by_mode_and_by_letters(rows: Rows, words: str, first: str, found: int) -> None:
    blocks = range(32)
    selection = Selection().set([f"model.layers.{n}.mlp.fc1" for n in blocks], Choice(Mode.FULL))
    dense = [f"model.layers.{n}.self_attn.dense" for n in blocks]
    figures = Figures(rows.shape, selection.set(dense, Choice(Mode.LORA, 8)), 16)
    assert rows.find(words, 0, figures) == found
    assert rows.row.label == first


def test_everything_below_a_row_is_opened_in_slices(rows: Rows) -> None:
    go_to(rows, "single blocks")
    key = rows.row.key
    slices = 1
    while not rows.unfold_below(key, 0.0):
        slices += 1
    assert slices > 32
    assert labels(rows).count("fc1") == 33
    rows.fold_all()
    assert rows.row.label == "layers.0–31"
    assert len(rows.rows) == 4
