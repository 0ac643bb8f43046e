"""What a selection changed, in words."""

from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.models.roles import Role
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.selection import Selection, with_role
from finetune_tui.tui.changes import changed_words

PHI = catalog()["microsoft/phi-2"].manifest()
BASE = resolve_preset("structured-output", PHI).selection


def words(selection: Selection, preset: str | None = "structured-output") -> str:
    return changed_words(PHI, preset, BASE if preset else Selection(), selection)


def test_an_unchanged_preset_is_its_own_name() -> None:
    assert words(BASE) == "+structured-output"


def test_whole_blocks_are_named_once() -> None:
    lower = [
        name for name in BASE.choices if (PHI.block_index(name) or 0) < 24 and "layers" in name
    ]
    assert words(BASE.set(lower, None)) == "+structured-output −layers.0–23"


def test_the_same_module_in_all_blocks_needs_no_numbers() -> None:
    without = BASE.set(with_role(PHI, Role.ATTENTION_OUTPUT), None)
    assert words(without) == "+structured-output −self_attn.dense"


def test_what_was_added_and_what_has_a_rank_of_its_own() -> None:
    changed = BASE.set(["model.embed_tokens"], LORA).set(["lm_head"], Choice(Mode.LORA, 8, 16))
    assert words(changed) == "+structured-output +embed_tokens lm_head→r8"


def test_by_hand_only_what_was_added() -> None:
    assert words(Selection({"model.layers.3.mlp.fc1": LORA}), None) == "+layers.3.mlp.fc1"
    assert words(Selection(), None) == ""
