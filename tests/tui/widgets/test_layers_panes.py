"""The words of the panes beside the tree."""

from pathlib import Path

import pytest

from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.tuning.presets import PRESETS
from finetune_tui.tui.preset_rows import preset_rows, presets_key
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.details import details_lines
from finetune_tui.tui.widgets.lines import text_of
from finetune_tui.tui.widgets.preset_list import preset_lines, why_lines
from finetune_tui.tui.widgets.prompt import complete_path
from finetune_tui.tui.widgets.tree_figures import Figures
from finetune_tui.tui.widgets.tree_rows import Rows
from finetune_tui.tui.widgets.tree_shape import TreeShape
from tests.tui.conftest import hardware


@pytest.fixture
def session() -> Session:
    reference = find_model("phi-2")
    assert reference.entry is not None
    session = Session()
    session.open_model(reference, reference.entry.manifest())
    session.choose_preset("structured-output")
    return session


def details(session: Session, label: str, width: int = 60) -> str:
    assert session.manifest is not None
    rows = Rows(TreeShape(session.manifest))
    figures = Figures(rows.shape, session.selection, session.spec.lora_r)
    row = next(place.row for place in rows.shape.places if place.row.label == label)
    return "\n".join(text_of(line) for line in details_lines(row, rows.shape, figures, width))


def test_a_projection_says_what_it_is_does_and_adds(session: Session) -> None:
    assert details(session, "fc2") == (
        "MLP out  10240→2560  ×32  Linear\n"
        "mode [lora] full  bias  frozen   rank ½ ×2\n"
        "the last factory step\n"
        "it brings the features back to the stream\n"
        "embed▸qkv▸out▸mlp in▸[OUT]▸norm▸head\n"
        "layers.0–31.mlp.fc2\n"
        "trains 3,276,800 numbers at rank 8"
    )


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("embed_tokens", "[EMBED]▸qkv"),
        ("self_attn", "embed▸[QKV▸OUT]▸mlp in"),
        ("mlp", "out▸[MLP IN▸OUT]▸norm"),
        ("k_proj,v_proj", "value: the document"),
        ("layers.0–31", "32 blocks, all alike"),
        ("single blocks", "open to train some blocks and not others"),
        ("final_layernorm", "LayerNorm has no matrix"),
        ("q_proj", "frozen; lora would add 1.31M"),
        ("layers.7", "layers.7"),
    ],
)
def test_every_kind_of_row_has_words(session: Session, label: str, says: str) -> None:
    assert says in details(session, label)


@pytest.mark.parametrize(
    ("model", "label", "says"),
    [
        ("qwen2.5-1.5b", "lm_head", "the same matrix as model.embed_tokens"),
        ("qwen3-30b-a3b", "experts", "128 experts"),
        ("qwen3-30b-a3b", "gate_up_proj", "weights of 128 experts in one tensor"),
        ("phi-3.5-mini-instruct", "qkv_proj", "query, key, value come along together"),
    ],
)
def test_what_a_family_does_in_its_own_way_is_said(model: str, label: str, says: str) -> None:
    reference = find_model(model)
    assert reference.entry is not None
    session = Session()
    session.open_model(reference, reference.entry.manifest())
    assert says in details(session, label)


def test_presets_show_what_they_train_and_where_the_advice_is_from(session: Session) -> None:
    session.hardware = hardware()
    key = presets_key(session)
    assert key is not None
    rows = preset_rows(key)
    lines = [text_of(line) for line in preset_lines(rows, session.preset, 0, True, True)]
    shown = {words[0]: words for words in (line.strip("▌ ●").split() for line in lines)}
    assert list(shown) == list(PRESETS)
    assert shown["structured-output"] == ["structured-output", "8.29M", "22.3G", "guide"]
    assert next(line for line in lines if "●" in line).split()[1] == "structured-output"
    assert "controls what attends to what" in text_of(why_lines(rows[0].resolved, 80)[0])


def test_paths_are_completed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").touch()
    assert complete_path(f"{tmp_path}/da") == f"{tmp_path}/data/"
    assert complete_path(f"{tmp_path}/data/") == f"{tmp_path}/data/train.jsonl"
    assert complete_path(f"{tmp_path}/nothing/x") is None
    assert complete_path("") is None
    assert complete_path("\0") is None


def test_the_rank_goes_on_a_line_of_its_own_where_room_is_short(session: Session) -> None:
    session.choose_preset("attention-refinement")
    assert " ½ ×2" in details(session, "q_proj", 60).splitlines()[1]
    narrow = details(session, "q_proj", 36).splitlines()
    assert "½" not in narrow[1]
    assert narrow[2].strip() == "rank ½ ×2"
