"""What a person calls a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.duplicate import spec_to_edit
from finetune_tui.core.runs.labels import (
    LONGEST_NOTE,
    Labels,
    change_labels,
    labels_of,
    read_labels,
    read_tags,
)
from finetune_tui.core.runs.likeness import likeness
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec


def test_labels_of_the_spec_are_there_from_the_start_and_can_be_changed(home: Path) -> None:
    spec = demo_spec().changed(name="invoices", note="first try", tags="a, B")
    run = create_run(home, write_spec(spec), "invoices", labels=labels_of(spec))
    assert read_labels(run) == Labels("invoices", "first try", ("a", "b"))
    before = run.spec_path.read_bytes()
    assert change_labels(run, note="").note == ""
    assert change_labels(run, tags=("c",), archived=True) == read_labels(run)
    assert read_labels(run) == Labels("invoices", "", ("c",), archived=True)
    assert run.spec_path.read_bytes() == before


def test_without_labels_there_is_no_file(run: RunDirectory) -> None:
    assert not run.labels_path.exists()
    assert read_labels(run) == Labels()


def test_what_a_run_is_called_does_not_change_what_its_steps_cost() -> None:
    spec = demo_spec()
    assert likeness(spec) == likeness(spec.changed(name="x", note="y", tags="z"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"note": "x" * (LONGEST_NOTE + 1)}, "note: 1001 characters are too many"),
        ({"name": "x" * 61}, "name: 61"),
        ({"tags": ["a b"]}, "'a b' cannot be a tag"),
        ({"tags": ["tag:x"]}, "cannot be a tag"),
        ({"tags": ["-x"]}, "cannot be a tag"),
        ({"tags": ["x" * 33]}, "cannot be a tag"),
        ({"tags": [str(number) for number in range(17)]}, "17 tags are too many"),
    ],
)
def test_what_cannot_be_a_label_changes_nothing(
    run: RunDirectory, change: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError) as refused:
        change_labels(run, **change)  # type: ignore[arg-type]
    assert says in str(refused.value)
    assert read_labels(run) == Labels()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=80), note=st.text(max_size=300), tags=st.text(max_size=80))
def test_any_text_is_refused_or_kept_as_a_terminal_shows_it(
    run: RunDirectory, name: str, note: str, tags: str
) -> None:
    try:
        kept = change_labels(run, name=name, note=note, tags=read_tags(tags))
    except UserError:
        return
    assert read_labels(run) == kept
    for text in (kept.name, kept.note, *kept.tags):
        assert text == plain(text)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[]",
        b'{"name": 3, "tags": "a", "archived": 1}',
        b'{"tags": ["ok", 1, "\\u001b[m"]}',
    ],
)
def test_damaged_labels_are_none_and_can_be_written_again(
    run: RunDirectory, content: bytes
) -> None:
    run.labels_path.write_bytes(content)
    found = read_labels(run)
    assert (found.name, found.note, found.archived) == ("", "", False)
    assert set(found.tags) <= {"ok"}
    assert change_labels(run, name="x").name == "x"


def test_keys_of_a_later_version_stay(run: RunDirectory) -> None:
    run.labels_path.write_text('{"colour": "red", "note": "a"}')
    change_labels(run, note="b")
    written = json.loads(run.labels_path.read_text())
    assert (written["colour"], written["note"]) == ("red", "b")


def test_a_folder_that_cannot_be_written_says_so(run: RunDirectory) -> None:
    run.labels_path.mkdir()
    with pytest.raises(WorkFailed, match="cannot be written"):
        change_labels(run, name="x")


def test_tags_as_they_are_typed() -> None:
    assert read_tags(" A, b  c,,b ") == ("a", "b", "c")
    assert read_tags("  ") == ()


def test_a_duplicate_has_the_labels_of_today_and_paths_that_hold_anywhere(
    home: Path, tmp_path: Path
) -> None:
    spec = replace(demo_spec(), train_files=("data/train.jsonl",), note="about r1", name="one")
    run = create_run(home, write_spec(spec), "one", labels=labels_of(spec))
    change_labels(run, name="two", tags=["t"])
    again = spec_to_edit(run)
    assert (again.name, again.note, again.tags) == ("two", None, ("t",))
    assert again.train_files == (str(run.path / "data/train.jsonl"),)
    assert replace(again, name=None, tags=()) == replace(
        spec, name=None, note=None, train_files=again.train_files
    )
    run.spec_path.unlink()
    with pytest.raises(UserError):
        spec_to_edit(run)


def test_labels_of_a_plain_spec_are_none() -> None:
    assert labels_of(Spec()) == Labels()
