"""Rows of a spec as tokens, small data and large; what is said about them; the probe that leaves no trace."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from torch.utils.data import BatchSampler, DataLoader

from finetune_tui.core import demo
from finetune_tui.core.data import source
from finetune_tui.core.data.tokens import load_tokenizer
from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.directory import RunDirectory, create_run
from finetune_tui.core.runs.events import read_events
from finetune_tui.core.training.arguments import training_arguments
from finetune_tui.core.training.batches import Collator
from finetune_tui.core.training.feed import Feed, read_feed
from finetune_tui.core.training.load import Device
from finetune_tui.core.training.order import Order
from finetune_tui.core.training.probe import probe_memory
from finetune_tui.core.training.reporter import Reporter
from finetune_tui.core.training.trainer import RunTrainer
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import write_spec

from .families import make_model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(str(demo.MODEL_FOLDER), "demo")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return create_run(tmp_path / "home", write_spec(Spec(model_name_or_path="demo")), "feed")


@pytest.fixture
def reporter(run: RunDirectory) -> Reporter:
    return Reporter(run)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Forty rows of many lengths; line 7 is no JSON, and line 12 has an empty prompt and little text."""
    path = tmp_path / "rows.jsonl"
    lines = [
        json.dumps(
            {"prompt": f"Say {n}: " + "word " * (n % 9), "completion": f"{n} " * (n % 5 + 1)}
        )
        for n in range(40)
    ]
    lines[6] = "{broken"
    path.write_text("\n".join(lines) + "\n")
    return path


def _spec(path: Path, **values: Any) -> Spec:
    settings = {"train_files": [str(path)], "eval_split": 0, "max_length": 64, **values}
    return Spec(model_name_or_path="demo").changed(**settings)


def _events(run: RunDirectory, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run.events_path) if event["kind"] == kind]


def _everything(feed: Feed) -> list[tuple[list[int], list[int], str]]:
    sequences = [feed.train[index] for index in range(len(feed.train))]
    return [
        (row.ids.tolist(), row.trains.tolist(), row.where)
        for sequence in sequences
        for row in sequence
    ]


def test_small_data_is_tokenised_whole_and_counted(
    rows: Path, tokenizer: Any, run: RunDirectory, reporter: Reporter
) -> None:
    feed = read_feed(_spec(rows), tokenizer, reporter)
    found = _everything(feed)
    assert [where for *_, where in found] == [f"{rows}:{n}" for n in range(1, 41) if n != 7]
    ids, trains, _ = found[0]
    text = tokenizer.decode([i for i, t in zip(ids, trains, strict=True) if t])
    assert text.startswith("0 ")
    assert tokenizer.decode(ids).startswith("Say 0: ")
    [told] = _events(run, "data")
    assert told["train_rows"] == 39
    assert told["bad"] == 1
    assert told["held_out"] == told["cut"] == told["skipped"] == told["duplicates"] == 0
    assert told["tokens"] == sum(len(ids) for ids, *_ in found)
    assert told["trained_tokens"] == sum(sum(trains) for _, trains, _ in found)
    assert told["longest"] == feed.longest == max(len(ids) for ids, *_ in found)
    assert feed.peaks_first
    [warning] = _events(run, "warning")
    assert warning["where"] == f"{rows}:7"


def test_rows_are_cut_at_what_the_model_takes(
    rows: Path, tokenizer: Any, run: RunDirectory, reporter: Reporter
) -> None:
    feed = read_feed(_spec(rows, max_length=64), tokenizer, reporter, context=12)
    assert feed.longest == 12
    [told] = _events(run, "data")
    assert told["cut"] > 0
    assert told["skipped"] > 0  # rows whose prompt alone is longer
    messages = [event["message"] for event in _events(run, "warning")]
    assert any("longer than 12 tokens" in message for message in messages)
    assert any("no trained tokens" in message for message in messages)


def test_nothing_to_train_is_an_error(rows: Path, tokenizer: Any, reporter: Reporter) -> None:
    path = rows.with_name("long.jsonl")
    path.write_text(json.dumps({"prompt": "word " * 500, "completion": "x"}) + "\n")
    with pytest.raises(UserError, match="no row has a token to train on"):
        read_feed(_spec(path), tokenizer, reporter)


def test_strict_stops_at_the_first_row_without_trained_tokens(
    rows: Path, tokenizer: Any, reporter: Reporter
) -> None:
    path = rows.with_name("long.jsonl")
    good = json.dumps({"prompt": "a", "completion": "b"})
    path.write_text(f"{good}\n{json.dumps({'prompt': 'word ' * 500, 'completion': 'x'})}\n")
    with pytest.raises(UserError, match="no trained tokens") as caught:
        read_feed(_spec(path, strict=True), tokenizer, reporter)
    assert caught.value.where == f"{path}:2"


def test_duplicates_and_held_out_rows(
    rows: Path, tokenizer: Any, run: RunDirectory, reporter: Reporter
) -> None:
    twice = rows.with_name("twice.jsonl")
    twice.write_text(rows.read_text() * 2)
    feed = read_feed(_spec(twice, eval_split=0.25), tokenizer, reporter)
    [told] = _events(run, "data")
    assert told["duplicates"] * 2 == told["train_rows"]  # equal rows stay on one side
    assert feed.held_out is not None
    assert told["held_out"] == len(feed.held_out) == len(feed.held_out_rows)
    assert feed.longest_answer > 0


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is a few KB already counts as large; only the first and some rows are checked."""
    monkeypatch.setattr(source, "SMALL", 100)
    monkeypatch.setattr(source, "CHECKED", 3)


@pytest.mark.usefixtures("large")
def test_large_data_gives_the_same_rows_when_asked(
    rows: Path, tokenizer: Any, run: RunDirectory, reporter: Reporter
) -> None:
    feed = read_feed(_spec(rows), tokenizer, reporter)
    found = _everything(feed)
    assert len(found) == 40
    assert found[6] == found[7]  # in place of the broken row stands the next one
    assert [where for *_, where in found[8:]] == [f"{rows}:{n}" for n in range(9, 41)]
    assert found == _everything(feed)
    assert not feed.peaks_first
    assert feed.longest == 64
    [warning] = _events(run, "warning")  # said once, however often it is met
    assert warning["where"] == f"{rows}:7"


@pytest.mark.usefixtures("large")
def test_of_many_unusable_rows_twenty_are_named(
    rows: Path, tokenizer: Any, run: RunDirectory, reporter: Reporter
) -> None:
    good = json.dumps({"prompt": "a", "completion": "b"})
    bad = json.dumps({"prompt": "word " * 90, "completion": "x"})
    rows.write_text(f"{good}\n" + f"{bad}\n" * 60 + f"{good}\n" * 3)
    feed = read_feed(_spec(rows), tokenizer, reporter)
    assert len({where for *_, where in _everything(feed)}) == 4
    assert len(_events(run, "warning")) == 20


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("how", [{"packing": True}, {"train_sampling_strategy": "group_by_length"}])
def test_large_data_whose_lengths_matter_is_measured_once(
    how: dict[str, Any], rows: Path, tokenizer: Any, reporter: Reporter
) -> None:
    feed = read_feed(_spec(rows, **how), tokenizer, reporter)
    found = _everything(feed)
    assert sorted(int(where.rpartition(":")[2]) for *_, where in found) == [
        n for n in range(1, 41) if n != 7
    ]
    assert feed.peaks_first
    sums = [sum(len(row.ids) for row in feed.train[i]) for i in range(len(feed.train))]
    assert sums == list(feed.train.lengths)
    assert max(sums) <= 64
    assert (len(feed.train) < 39) is bool(how.get("packing"))


@pytest.mark.usefixtures("large")
def test_a_guess_by_bytes_puts_the_longest_first(
    rows: Path, tokenizer: Any, reporter: Reporter
) -> None:
    feed = read_feed(_spec(rows), tokenizer, reporter)
    lengths = [len(feed.train[place][0].ids) for place in feed.train.order(4)]
    assert min(lengths[:4]) >= max(lengths) - 4


def test_a_resumed_second_epoch_has_its_own_order() -> None:
    """The epoch reaches the order through everything accelerate wraps around it."""
    order = Order(20, 4, seed=1)
    loader = Accelerator(cpu=True).prepare(
        DataLoader(cast(Any, range(20)), batch_sampler=BatchSampler(order, 4, drop_last=False))
    )
    loader.set_epoch(1)
    straight = [batch.tolist() for batch in loader]
    again = Accelerator(cpu=True).prepare(
        DataLoader(cast(Any, range(20)), 4, sampler=Order(20, 4, seed=1))
    )
    resumed = skip_first_batches(again, 2)
    resumed.set_epoch(1)
    assert [batch.tolist() for batch in resumed] == straight[2:]


def test_the_probe_leaves_no_trace(rows: Path, tokenizer: Any, reporter: Reporter) -> None:
    feed = read_feed(_spec(rows), tokenizer, reporter)
    straight = _trained(feed, reporter, probed=False)
    probed = _trained(feed, reporter, probed=True)
    for name, parameter in straight.items():
        assert torch.equal(parameter, probed[name]), name


def _trained(feed: Feed, reporter: Reporter, probed: bool) -> dict[str, torch.Tensor]:
    """Three steps of a model with dropout, with or without a probe before."""
    spec = _spec(Path(), max_steps=3, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    spec = spec.changed(use_cpu=True, eval_steps=0, save_steps=0, learning_rate=1e-2)
    model = make_model("phi", resid_pdrop=0.2)
    model.requires_grad_(True)
    folder = reporter.run.checkpoints
    device = Device(torch.device("cpu"), torch.float32)
    trainer = RunTrainer(
        reporter,
        folder,
        spec,
        model=model,
        args=training_arguments(spec, device, folder, evaluates=False),
        train_dataset=feed.train,
        data_collator=Collator(),
    )
    if probed:
        before = torch.get_rng_state()
        shapes = list(_seen_shapes(trainer))
        assert shapes == [(2, 64)]
        assert torch.equal(before, torch.get_rng_state())
        assert all(parameter.grad is None for parameter in model.parameters())
    trainer.go(None)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _seen_shapes(trainer: Any) -> Iterator[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    embedding = trainer.model.get_input_embeddings()
    handle = embedding.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    probe_memory(trainer, 64)
    handle.remove()
    yield from (tuple(shape) for shape in shapes)


def test_stored_rows_are_compact(rows: Path, tokenizer: Any, reporter: Reporter) -> None:
    feed = read_feed(_spec(rows), tokenizer, reporter)
    row = feed.train[3][0]
    assert row.ids.dtype == np.int32
    assert row.trains.dtype == np.uint8
