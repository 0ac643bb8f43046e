"""The steps said before the start are those that Trainer will count."""

from hypothesis import given
from hypothesis import strategies as st

from finetune_tui.core.tuning.schedule import steps_of, total_steps
from finetune_tui.core.tuning.spec import Spec


@given(
    rows=st.integers(1, 10_000),
    batch=st.integers(1, 64),
    accumulation=st.integers(1, 64),
    epochs=st.floats(0.1, 5),
)
def test_steps_of_whole_passes(rows: int, batch: int, accumulation: int, epochs: float) -> None:
    spec = Spec().changed(
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=epochs,
        eval_split=0,
    )
    total = total_steps(spec, rows)
    assert total is not None
    # A step takes at most batch × accumulation rows; only the last of each pass takes fewer.
    assert total * batch * accumulation >= epochs * rows
    assert (total - 1) < epochs * (rows / (batch * accumulation) + 1)


def test_what_is_not_known_is_not_guessed() -> None:
    assert total_steps(Spec(), None) is None
    assert total_steps(Spec().changed(packing=True), 100) is None
    assert total_steps(Spec().changed(packing=True, max_steps=7), None) == 7


def test_rows_that_are_held_out_make_no_steps() -> None:
    spec = Spec().changed(num_train_epochs=1, eval_split=0.5)
    assert total_steps(spec, 64) == 2
    assert total_steps(spec.changed(eval_files=["e.jsonl"]), 64) == 4


def test_a_share_is_rounded_up_as_trainer_does() -> None:
    assert steps_of(0.1, 25) == 3
    assert steps_of(1, 25) == 1
    assert steps_of(7, 25) == 7
