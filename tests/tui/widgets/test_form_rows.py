import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.tuning.spec import FIELDS, Spec
from finetune_tui.tui.widgets.form_rows import (
    edit_text,
    form_line,
    help_words,
    limits,
    moved,
    reason_words,
    rows,
    value_words,
)
from finetune_tui.tui.widgets.lines import cells, text_of


def test_every_setting_is_in_the_form_once() -> None:
    names = [row.title for row in rows() if row.field]
    chosen_elsewhere = {"task", "model_name_or_path", "preset", "modules"}
    assert sorted(names) == sorted(FIELDS.keys() - chosen_elsewhere)


def test_moving_skips_headings_and_stops_at_the_ends() -> None:
    table = rows()
    first = moved(table, 0, 1)
    assert table[first].field
    assert moved(table, first, -1) == first
    last = moved(table, first, 1000)
    assert last == len(table) - 1
    assert all(table[moved(table, at, 1)].field for at in range(len(table)))


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({"learning_rate": 2e-4}, "learning_rate", "2e-4"),
        ({"num_train_epochs": 3}, "num_train_epochs", "3"),
        ({"use_rslora": True}, "use_rslora", "yes"),
        ({"train_files": ["a/b.jsonl", "c.jsonl"]}, "train_files", "b.jsonl +1"),
        ({}, "name", "–"),
    ],
)
def test_values_as_people_write_them(values: dict[str, object], name: str, words: str) -> None:
    assert value_words(Spec().changed(**values), name) == words


@pytest.mark.parametrize("name", [row.title for row in rows() if row.field])
def test_what_an_input_starts_with_means_the_value_itself(name: str) -> None:
    spec = Spec(train_files=("a.jsonl", "b c.jsonl"), learning_rate=2e-4)
    text = edit_text(spec, name)
    if text or FIELDS[name].optional:
        assert getattr(spec.changed(**{name: text}), name) == getattr(spec, name)


def test_the_scale_of_the_update_is_shown() -> None:
    assert "× 2" in help_words(Spec(lora_r=16, lora_alpha=32), FIELDS["lora_alpha"])
    rank_stable = Spec(lora_r=16, lora_alpha=32, use_rslora=True)
    assert "× 8" in help_words(rank_stable, FIELDS["lora_alpha"])


@pytest.mark.parametrize(
    ("values", "name", "data_rows", "says"),
    [
        ({}, "gradient_accumulation_steps", None, "16 rows a step"),
        ({"max_steps": 50}, "num_train_epochs", 640, "max_steps decides"),
        ({"eval_split": 0}, "num_train_epochs", 640, "120 steps"),
        ({}, "num_train_epochs", 640, "114 steps"),  # 32 of 640 are held out
        ({}, "num_train_epochs", None, "passes over the data"),
        ({"max_steps": 300}, "warmup_steps", None, "9 of 300 steps"),
        ({"max_steps": 300}, "eval_steps", None, "every 30 of 300 steps"),
        ({"max_steps": 300, "save_steps": 100}, "save_steps", None, "every 100 of 300 steps"),
        ({"max_steps": 300, "save_steps": 999}, "save_steps", None, "every 300 of 300 steps"),
        ({"max_steps": 300, "eval_steps": 0}, "eval_steps", None, "held-out loss"),
    ],
)
def test_numbers_are_worked_out_where_they_are_known(
    values: dict[str, object], name: str, data_rows: int | None, says: str
) -> None:
    assert says in help_words(Spec().changed(**values), FIELDS[name], data_rows)


def test_every_default_stands_with_its_reason() -> None:
    assert reason_words(FIELDS["lora_r"]).startswith("default 8: start at 8 and double")
    assert reason_words(FIELDS["use_dora"]).startswith("default no: ")
    assert reason_words(FIELDS["train_files"]).startswith("default –: ")
    assert reason_words(FIELDS["learning_rate"]).startswith("default 2e-4: ")


@pytest.mark.parametrize("width", [20, 45, 80, 120])
def test_a_row_never_leaves_its_width(width: int) -> None:
    for row in rows():
        for under_cursor in (True, False):
            assert cells(form_line(Spec(), row, width, under_cursor)) == width


def test_limits_say_what_may_be_typed() -> None:
    assert limits(FIELDS["lora_r"]) == "a whole number from 1 to 4096"
    assert limits(FIELDS["dtype"]).startswith("one of auto, float32")
    with pytest.raises(UserError):
        Spec().changed(lora_r="0")


def test_changed_values_stand_out_by_weight() -> None:
    row = next(row for row in rows() if row.title == "lora_r")
    styles = {span.text.strip(): span.style for span in form_line(Spec(lora_r=64), row, 80, False)}
    assert styles["64"] == "strong"
    assert "lora_r" in text_of(form_line(Spec(), row, 80, False))


def test_words_beside_a_value_end_where_a_part_ends() -> None:
    spec = Spec(max_steps=9, eval_steps=0.1, save_steps=0.1)
    for name in ("eval_steps", "save_steps"):
        row = next(row for row in rows() if row.title == name)
        shown = text_of(form_line(spec, row, 80, under_cursor=False)).rstrip()
        assert shown.endswith("at each of 9 steps")
        assert row.field is not None
        assert row.field.help in help_words(spec, row.field)  # which stands below the form
