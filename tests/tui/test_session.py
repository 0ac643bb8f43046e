"""The session: what every screen reads and changes."""

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.estimate import Verdict
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import find_model
from finetune_tui.core.tuning.modes import Choice, Mode
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.tui.session import Session
from finetune_tui.tui.widgets.lines import text_of
from finetune_tui.tui.widgets.status import status_line
from tests.tui.conftest import hardware

FC1 = "model.layers.0.mlp.fc1"


def manifest_of(name: str) -> Manifest:
    entry = find_model(name).entry
    assert entry is not None
    return entry.manifest()


def session_with(name: str, spec: Spec | None = None) -> Session:
    session = Session()
    session.open_model(find_model(name), manifest_of(name), spec)
    return session


@pytest.fixture
def phi() -> Session:
    return session_with("phi-2")


@pytest.fixture
def demo() -> Session:
    return session_with("demo", demo_spec())


def test_without_a_model_there_is_nothing_to_estimate_and_changes_are_refused() -> None:
    session = Session()
    assert session.estimates == {}
    assert session.estimate is None
    assert session.trainable == 0
    assert session.presets() == []
    with pytest.raises(UserError, match="no model is open"):
        session.choose_preset("personas")


def test_the_demo_opens_with_its_preset_chosen(demo: Session) -> None:
    assert demo.preset == "structured-output"
    assert demo.selection == demo.preset_selection
    assert demo.trainable > 0
    assert not demo.is_changed
    assert not demo.undo()


def test_every_change_moves_the_estimate_and_says_by_how_much(phi: Session) -> None:
    before = phi.estimate
    phi.toggle([FC1])
    after = phi.estimate
    assert before is not None
    assert after is not None
    assert phi.last_change == after.device - before.device != 0
    phi.toggle([FC1])
    assert phi.estimate == before


def test_undo_and_redo_walk_through_selections_and_presets(phi: Session) -> None:
    phi.choose_preset("personas")
    chosen = phi.selection
    phi.toggle([FC1])
    assert (phi.preset, phi.is_changed) == ("personas", True)
    assert phi.undo()
    assert phi.selection == chosen
    assert (phi.preset, phi.is_changed) == ("personas", False)
    assert phi.undo()
    assert phi.preset is None
    assert not phi.selection.choices
    assert not phi.undo()
    assert phi.redo()
    assert phi.redo()
    assert not phi.redo()
    assert phi.selection.mode(FC1) is Mode.LORA


def test_settings_are_taken_back_in_their_turn(phi: Session) -> None:
    phi.choose_preset("personas")
    phi.change_spec(max_length=512, load_in_4bit=True)
    phi.toggle([FC1])
    assert phi.undo()
    assert phi.spec.max_length == 512
    assert phi.undo()
    assert (phi.spec.max_length, phi.spec.load_in_4bit, phi.preset) == (1024, False, "personas")
    assert phi.redo()
    assert phi.spec.load_in_4bit
    assert phi.undo()
    assert phi.undo()
    assert not phi.selection.choices


def test_undo_leaves_the_data_that_was_read(phi: Session) -> None:
    phi.change_spec(max_length=512)
    phi.change_spec(train_files=["/data/train.jsonl"])
    assert phi.undo()
    assert phi.spec.max_length == 1024
    assert phi.spec.train_files == ("/data/train.jsonl",)
    assert not phi.undo()


def test_a_setting_that_stays_as_it_was_is_no_step(phi: Session) -> None:
    phi.change_spec(max_length=phi.spec.max_length)
    assert phi.last_change == 0
    assert not phi.undo()


def test_a_change_after_undo_forgets_what_was_undone(phi: Session) -> None:
    phi.toggle([FC1])
    phi.undo()
    phi.toggle(["lm_head"])
    assert not phi.redo()


def test_a_rank_typed_digit_by_digit_is_one_step_of_undo(phi: Session) -> None:
    typing = object()
    for r in (None, 6, 64):
        phi.choose([FC1], Mode.LORA, r, merge=typing)
    assert phi.selection.choices[FC1] == Choice(Mode.LORA, 64, 128)  # the scale stays alpha / r = 2
    phi.undo()
    assert not phi.selection.choices


def test_the_spec_s_own_rank_is_no_rank_of_its_own(phi: Session) -> None:
    phi.choose([FC1], Mode.LORA, phi.spec.lora_r)
    assert phi.selection.choices[FC1] == Choice(Mode.LORA)


def test_a_preset_of_which_nothing_is_left_is_forgotten(phi: Session) -> None:
    phi.choose_preset("attention-refinement")
    phi.toggle([FC1])
    phi.toggle(phi.preset_selection.choices)
    assert phi.preset is None
    assert phi.selection.mode(FC1) is Mode.LORA


def test_what_runs_is_what_was_chosen(phi: Session) -> None:
    phi.choose_preset("structured-output")
    phi.toggle(["lm_head"])
    phi.choose([FC1], Mode.LORA, 8)
    phi.change_spec(train_files=["/data/train.jsonl"])
    spec = phi.spec_to_run()
    assert phi.manifest is not None
    assert selection_of(spec, phi.manifest) == phi.selection
    assert spec.preset == "structured-output"


def test_a_run_needs_something_to_train_and_data(phi: Session) -> None:
    with pytest.raises(UserError, match="nothing is chosen"):
        phi.spec_to_run()
    phi.choose_preset("personas")
    with pytest.raises(UserError, match="no data"):
        phi.spec_to_run()


def test_a_wrong_setting_changes_nothing(phi: Session) -> None:
    before, estimates = phi.spec, phi.estimates
    with pytest.raises(UserError, match="lora_r"):
        phi.change_spec(lora_r="many")
    assert phi.spec == before
    assert phi.estimates == estimates


def test_settings_move_the_estimate(phi: Session) -> None:
    phi.choose_preset("personas")
    before = phi.trainable
    phi.change_spec(lora_r="16")
    assert phi.trainable == 2 * before


def test_the_demo_s_settings_and_data_stay_with_the_demo(demo: Session) -> None:
    demo.open_model(find_model("phi-2"), manifest_of("phi-2"))
    assert demo.spec.train_files == ()
    assert not demo.spec.use_cpu
    assert demo.preset == "structured-output"
    assert demo.selection == demo.preset_selection


def test_settings_go_along_to_another_model(phi: Session) -> None:
    phi.change_spec(learning_rate="1e-3")
    phi.open_model(find_model("demo"), manifest_of("demo"))
    assert phi.spec.learning_rate == 1e-3
    assert phi.spec.model_name_or_path == "demo"


def test_a_spec_that_does_not_fit_the_model_changes_nothing(phi: Session) -> None:
    wrong = Spec().changed(modules=[{"model.layers.99.mlp.fc1": "lora"}])
    before = phi.manifest
    with pytest.raises(UserError, match=r"model\.layers\.99"):
        phi.open_model(find_model("demo"), manifest_of("demo"), wrong)
    assert phi.manifest is before
    with pytest.raises(UserError, match=r"model\.layers\.99"):
        phi.change_all(wrong)


def test_an_edited_spec_is_one_step_of_undo(phi: Session) -> None:
    phi.choose_preset("personas")
    phi.change_all(phi.current_spec().changed(preset="new-knowledge", lora_r=4))
    assert phi.preset == "new-knowledge"
    assert phi.spec.lora_r == 4
    phi.undo()
    assert phi.preset == "personas"


def test_the_verdict_needs_a_gpu_that_is_used(phi: Session) -> None:
    assert (phi.free_bytes, phi.verdict) == (None, None)
    phi.hardware = hardware()
    assert (phi.free_bytes, phi.verdict) == (phi.hardware.gpus[0].free, Verdict.FITS)
    phi.change_spec(use_cpu=True)
    assert phi.free_bytes is None
    phi.hardware = hardware(gpu=False)
    assert phi.gpu is None


def test_a_card_is_compared_with_as_long_as_the_model_is_the_same(phi: Session) -> None:
    phi.card = "24 GB"
    assert phi.reference is not None
    assert phi.manifest is not None
    phi.open_model(phi.reference, phi.manifest)
    assert phi.card == "24 GB"
    reference = find_model("qwen2.5-1.5b-instruct")
    assert reference.entry is not None
    phi.open_model(reference, reference.entry.manifest())
    assert phi.card is None


def test_nothing_chosen_is_said_in_words_and_not_as_a_share_of_nothing(phi: Session) -> None:
    for name in tuple(phi.selection.choices):
        phi.toggle([name], phi.selection.choices[name])
    assert not phi.trainable
    words = text_of(status_line(phi))
    assert "nothing chosen" in words
    assert "0%" not in words
