"""The folded tree as plain rows."""

import pytest

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
