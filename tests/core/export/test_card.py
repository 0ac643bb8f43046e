"""The model card: valid, true, harmless, and without a word about the machine it was made on."""

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.export import facts as facts_module
from finetune_tui.core.export.card import write_card
from finetune_tui.core.export.exported import Exported, exported_by, note_of
from finetune_tui.core.export.facts import Facts, data_files, date_of, gather, licence_of
from finetune_tui.core.export.loading import loading_code
from finetune_tui.core.export.markdown import code, fenced, words
from finetune_tui.core.export.plan import Trained, read_trained
from finetune_tui.core.models.resolve import ModelReference, find_model
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import append_event
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.core.tuning.spec_file import write_spec
from tests.tui.comparison_fixture import compare_run, orders, write_result

MERGED = Exported(Path("/somewhere/out"), True, "bfloat16", 2**30, 9, 0.01, 0.1, 2.0, 4)
ADAPTER = Exported(Path("/somewhere/out"), False, None, 2**20, 8)

anything = st.text(st.characters(codec="utf-8"), max_size=60)


def make_trained(tmp_path: Path, model: str | None = None, **keys: Any) -> Trained:
    spec = demo_spec().changed(**keys)
    if model:
        spec = spec.changed(model_name_or_path=model)
    run = create_run(tmp_path / "home", write_spec(spec), "secret-name")
    run.adapter.mkdir()
    return read_trained(run)


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    head: dict[str, Any] = yaml.safe_load(card[4:].partition("\n---\n")[0])
    return head


@pytest.mark.parametrize("exported", [MERGED, ADAPTER])
def test_the_front_matter_of_a_catalog_model(exported: Exported, tmp_path: Path) -> None:
    trained = make_trained(tmp_path, "microsoft/phi-2")
    head = front_matter(write_card(gather(trained, ["a: lora"]), exported))
    assert head == {
        "base_model": "microsoft/phi-2",
        "base_model_relation": "finetune" if exported.merged else "adapter",
        "library_name": "transformers" if exported.merged else "peft",
        "pipeline_tag": "text-generation",
        "license": "mit",
        "tags": ["finetune-tui", "lora"],
    }


def test_results_and_comparison_stand_in_it(tmp_path: Path) -> None:
    trained = make_trained(tmp_path)
    run = trained.run
    append_event(
        run,
        "started",
        t=1.7e9,
        trainable_parameters=1234,
        parameters=100_000,
        versions={"torch": "2.13.0", "peft": None},
    )
    append_event(run, "data", train_rows=900, held_out=40, bad=3)
    append_event(run, "step", step=300, loss=0.125)
    append_event(run, "eval", step=250, eval_loss=0.25, best=True)
    append_event(run, "measured", when="before", exact=3, total=240)
    append_event(run, "measured", when="after", exact=238, total=240)
    append_event(run, "finished", steps=300, train_loss=0.5, seconds=75.0, peak_memory=2**30)
    card = write_card(gather(read_trained(run), ["x.{0..3}.y: lora"]), ADAPTER)
    for told in (
        "1,234 trained parameters beside 100,000 (1.23K, 1.2%)",
        "| best held-out loss | 0.2500 at step 250 |",
        "| exact replies after | 238 of 240 (99%) |",
        "900 rows to train on, 40 held out, 3 left out",
        "- `x.{0..3}.y: lora`",
        f"trained on {datetime.now(UTC):%Y-%m-%d} (UTC), in 1m15",
        "torch 2.13.0",
        "memory: 1.0G of memory at the peak",
    ):
        assert told in card
    assert "peft None" not in card


def test_the_newest_comparison_stands_in_it(tmp_path: Path) -> None:
    trained = make_trained(tmp_path)
    made = compare_run(tmp_path / "home", trained.run, name="r2-compare")
    write_result(trained.run, made, held_out=orders(60), created=9.0)
    card = write_card(gather(trained, []), ADAPTER)
    assert "| metric | base | tuned | difference |" in card
    assert re.search(r"\| exact match \| [0-9.]+ % \([0-9.]+–[0-9.]+\) \|", card)
    assert "In brackets: 95 % intervals." in card


def test_nothing_of_the_machine(tmp_path: Path) -> None:
    data = tmp_path / "home of somebody" / "rows.jsonl"
    data.parent.mkdir()
    data.write_text('{"prompt": "a", "completion": "b"}\n')
    keys: dict[str, Any] = {
        "note": "for the boss",
        "name": "secret",
        "tags": ["private"],
        "gpus": ["GPU-8f1c"],
    }
    trained = make_trained(tmp_path, train_files=[str(data)], **keys)
    append_event(trained.run, "started", host="my-laptop", model=str(tmp_path))
    facts = gather(read_trained(trained.run), ["a: lora"])
    for exported in (MERGED, ADAPTER):
        card = write_card(facts, exported)
        for secret in (
            str(tmp_path),
            "somebody",
            "boss",
            "secret",
            "private",
            "GPU-8f1c",
            "laptop",
        ):
            assert secret not in card
        assert "/somewhere" not in card
        assert "rows.jsonl" in card
    note = json.dumps(note_of(MERGED, "key"))
    assert "/somewhere" not in note


@settings(max_examples=30)
@given(name=anything, file=anything, preset=anything, version=anything)
def test_whatever_names_hold_the_card_keeps_its_shape(
    name: str, file: str, preset: str, version: str
) -> None:
    spec = Spec(model_name_or_path=name, preset=preset)
    reference = ModelReference(name, name, "hub", None, None)
    trained = Trained(RunDirectory(Path("/nowhere")), spec, reference, {})
    facts = Facts(
        trained,
        (file,),
        None,
        None,
        None,
        (facts_module.DataFile(file, 1, "00"),),
        (),
        {},
        None,
        None,
        None,
        {},
        None,
        None,
        {"torch": version},
    )
    card = write_card(facts, ADAPTER, [name])
    assert front_matter(card)["pipeline_tag"] == "text-generation"
    headings = [line for line in card.split("\n") if line.startswith("#") and "folder" not in line]
    assert [line[:6] for line in headings[1:]] == [
        *("## Loa", "## Wha", "## Set", "## Dat", "## Res", "## How"),
    ]
    rows = [line for line in card.split("\n") if line.startswith("| ") and "train" in line]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    compile(card.partition("```python\n")[2].partition("\n```\n")[0], "card", "exec")


@given(text=anything)
def test_foreign_text_stays_in_its_place(text: str) -> None:
    for made in (words(text), code(text)):
        assert "\n" not in made
        assert "<" not in words(text)
    ticks = re.match("`+", code(text))
    assert ticks
    inside = code(text)[len(ticks[0]) : -len(ticks[0])]
    assert ticks[0] not in re.findall("`+", inside)
    block = fenced(text).split("\n")
    assert block[0] not in block[1:-1]


def test_the_licence_is_never_made_up(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")

    def said() -> str | None:
        reference = find_model(str(folder))
        return licence_of(Trained(RunDirectory(tmp_path), Spec(), reference, {}))

    assert said() is None
    for card, licence in (
        ("---\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("---\nlicense: [a, b]\n---\n", None),
        ("---\nlicense: 'x\\ny: z'\n---\n", None),
        ("---\n- a\n", None),
        ("---\nlicense: mit", None),
        ("---\nlicense: {" + "[" * 100_000, None),
        ("license: mit", None),
    ):
        (folder / "README.md").write_text(card)
        assert said() == licence
    (folder / "README.md").unlink()
    assert "not known here" in write_card(gather(make_trained(tmp_path, str(folder)), []), ADAPTER)


def test_data_that_is_gone_or_large_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "_WHOLE_UP_TO", 100)
    monkeypatch.setattr(facts_module, "_ENDS", 10)
    (tmp_path / "large.jsonl").write_bytes(b"0123456789" + b"x" * 200 + b"9876543210")
    (tmp_path / "small.jsonl").write_bytes(b"abc")
    sources = [str(tmp_path / name) for name in ("large.jsonl", "small.jsonl", "gone.jsonl")]
    large, small, gone = data_files([*sources, "hf://datasets/owner/name"], began=0.0)[:3]
    assert large.parts
    assert small.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert small.changed
    assert gone.sha256 is None
    assert not data_files(sources[1:2], began=math.inf)[0].changed


@pytest.mark.parametrize("time", [None, "soon", math.nan, math.inf, -5.0, 1e300, 10**400, True])
def test_a_time_that_is_none_has_no_date(time: Any) -> None:
    assert date_of(time) is None


def test_loading_code_takes_names_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "a'; import os #"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    trained = make_trained(tmp_path, str(folder))
    text = loading_code(trained, ADAPTER, None)
    compile(text, "card", "exec")
    assert "import os" not in [line.strip() for line in text.replace(";", "\n").split("\n")][:6]


def test_whose_export_lies_there(tmp_path: Path) -> None:
    assert exported_by(tmp_path, "mine") is None
    (tmp_path / "export.json").write_text(json.dumps(note_of(MERGED, "mine")))
    assert exported_by(tmp_path, "other") is None
    found = exported_by(tmp_path, "mine")
    assert found is not None
    assert found.difference == MERGED.difference
    assert found.out == tmp_path
    for broken in ("", "[]", '{"export": "mine"}', "{" * 100_000):
        (tmp_path / "export.json").write_text(broken)
        assert exported_by(tmp_path, "mine") is None
