"""One contestant trains one row of the training benchmark, in this process alone; prints a line of JSON.

python -m benchmarks.training_contestant CONTESTANT ROW STEPS
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

IGNORED = -100
WARM_UP = 6  # steps before the clock counts
_CONFIG = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "tie_word_embeddings": True}


@dataclass(frozen=True)
class Shape:
    """A row of the benchmark: a Qwen2 shape, rows at once, their shortest and longest, how much trains."""

    vocabulary: int
    hidden: int
    layers: int
    rows: int
    shortest: int
    longest: int
    share_trained: float
    packed: bool = False


ROWS = {
    "tiny, step under 20 ms": Shape(1_000, 64, 2, 4, 24, 48, 0.5),
    "step over 100 ms": Shape(8_000, 256, 6, 8, 64, 128, 0.5),
    "152k vocabulary, 12 % trained": Shape(152_000, 128, 2, 4, 192, 256, 0.12),
    "short rows, packed": Shape(8_000, 256, 6, 4, 8, 96, 0.5, packed=True),
}
PACK_TO = 256


@dataclass
class Clock:
    """When each step ended, in seconds of the wall and of this process's CPU time."""

    wall: list[float]
    cpu: list[float]

    def tick(self) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())


def main() -> None:
    contestant, row, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    shape = ROWS[row]
    torch.manual_seed(1)
    model = _model(shape)
    rows = _rows(shape, steps)
    clock = Clock([], [])
    tokens = CONTESTANTS[contestant](model, rows, shape, steps, clock)
    wall = [b - a for a, b in pairwise(clock.wall)][WARM_UP:]
    cpu = [b - a for a, b in pairwise(clock.cpu)][WARM_UP:]
    print(
        json.dumps(
            {
                "step": median(wall),
                "cpu_step": median(cpu),
                "tokens_per_second": tokens / (clock.wall[-1] - clock.wall[WARM_UP]),
                "tokens_per_cpu_second": tokens / (clock.cpu[-1] - clock.cpu[WARM_UP]),
                "peak": _peak(),
            }
        )
    )


def bare(
    model: Any, rows: list[dict[str, list[int]]], shape: Shape, steps: int, clock: Clock
) -> int:
    """A loop as a careful person writes it by hand, with the same loss and optimizer."""
    from transformers import get_linear_schedule_with_warmup

    from finetune_tui.core.training.loss import use_chunked_loss

    assert use_chunked_loss(model) is None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, 2, steps)
    model.train()
    counted = 0
    for number, batch in enumerate(_batches(_sequences(rows, shape), shape, steps)):
        tokens = batch.pop("tokens")
        items = (batch["labels"][:, 1:] != IGNORED).sum()
        loss = model(**batch, num_items_in_batch=items, use_cache=False)["loss"]
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if not (np.isfinite(loss.item()) and np.isfinite(norm.item())):
            raise SystemExit("not a number")
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        clock.tick()
        counted += tokens if number > WARM_UP else 0
    return counted


def stock(
    model: Any, rows: list[dict[str, list[int]]], shape: Shape, steps: int, clock: Clock
) -> int:
    """transformers' Trainer, its own loss; it cannot pack."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, **_arguments(shape, steps), remove_unused_columns=False
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(_Pad(), label_pad_token_id=IGNORED),
            callbacks=[_ticking(clock)],
        )
        trainer.train()
    return _tokens_after_warm_up(rows, shape, steps, packed=False)


def trl(
    model: Any, rows: list[dict[str, list[int]]], shape: Shape, steps: int, clock: Clock
) -> int:
    """TRL's SFTTrainer with its defaults for rows that are tokens already."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from finetune_tui.core import demo

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(demo.MODEL_FOLDER / "tokenizer.json"),
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            folder,
            **_arguments(shape, steps),
            max_length=PACK_TO,
            packing=shape.packed,
            packing_strategy="bfd",
            shuffle_dataset=False,
            gradient_checkpointing=False,
        )
        trainer = SFTTrainer(
            model,
            arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[_ticking(clock)],
        )
        if shape.packed:
            lengths = [sum(sequence["seq_lengths"]) for sequence in trainer.train_dataset]
        else:
            lengths = [len(row["input_ids"]) for row in rows]
        trainer.train()
    first, last = ((WARM_UP + 1) * shape.rows, steps * shape.rows)
    return sum(lengths[first:last])


def ours(
    model: Any, rows: list[dict[str, list[int]]], shape: Shape, steps: int, clock: Clock
) -> int:
    """What the worker does: events, heartbeat, checks, with a run's folder."""
    from finetune_tui.core.runs.directory import create_run
    from finetune_tui.core.training.arguments import training_arguments
    from finetune_tui.core.training.batches import Collator
    from finetune_tui.core.training.load import Device
    from finetune_tui.core.training.loss import use_chunked_loss
    from finetune_tui.core.training.reporter import Reporter
    from finetune_tui.core.training.trainer import RunTrainer
    from finetune_tui.core.tuning.spec import demo_spec
    from finetune_tui.core.tuning.spec_file import write_spec

    spec = demo_spec().changed(
        per_device_train_batch_size=shape.rows,
        gradient_accumulation_steps=1,
        train_sampling_strategy="sequential",
        learning_rate=1e-4,
        warmup_steps=2,
        max_steps=steps,
        eval_steps=0,
        save_steps=0,
    )
    assert use_chunked_loss(model) is None
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(Path(folder), write_spec(spec), "benchmark")
        reporter = Reporter(run)
        reporter.start()
        device = Device(torch.device("cpu"), torch.float32)
        trainer = RunTrainer(
            reporter,
            run.checkpoints,
            spec,
            model=model,
            args=training_arguments(spec, device, run.checkpoints, evaluates=False),
            train_dataset=_Fed(_sequences(rows, shape)),
            data_collator=Collator(),
        )
        trainer.add_callback(_ticking(clock))
        trainer.go(None)
        reporter.end()
    return _tokens_after_warm_up(rows, shape, steps, shape.packed)


CONTESTANTS: dict[str, Callable[..., int]] = {
    "bare loop": bare,
    "Trainer": stock,
    "SFTTrainer": trl,
    "ours": ours,
}


class _Fed:
    """Sequences as `feed` gives them to Trainer, in their order."""

    def __init__(self, sequences: list[Any]) -> None:
        self._sequences = sequences

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, index: int) -> Any:
        return self._sequences[index]

    def order(self, step_rows: int) -> Any:
        from finetune_tui.core.training.order import Order

        return Order(len(self), step_rows, 1, "sequential")


class _Pad:
    """What transformers' collator asks of a tokenizer."""

    padding_side = "right"

    def pad(self, features: Any, **_: Any) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in features)
        padded = {
            "input_ids": [
                row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in features
            ],
            "attention_mask": [
                [1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"]))
                for row in features
            ],
        }
        if "labels" in features[0]:
            padded["labels"] = [row["labels"] for row in features]
        return {name: torch.tensor(values) for name, values in padded.items()}


def _model(shape: Shape) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "qwen2",
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.hidden * 3,
        num_hidden_layers=shape.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        **_CONFIG,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model.config.use_cache = False
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=names))


def _rows(shape: Shape, steps: int) -> list[dict[str, list[int]]]:
    """Enough for every step; the end of each row trains."""
    numbers = np.random.default_rng(1)
    rows: list[dict[str, list[int]]] = []
    tokens = 0
    while len(rows) < steps * shape.rows or (
        shape.packed and tokens < (steps + 2) * shape.rows * PACK_TO
    ):
        length = int(numbers.integers(shape.shortest, shape.longest + 1))
        ids = numbers.integers(3, min(shape.vocabulary, 30_000), length).tolist()
        kept = max(1, round(length * shape.share_trained))
        rows.append(
            {"input_ids": ids, "labels": [IGNORED] * (length - kept) + ids[length - kept :]}
        )
        tokens += length
    return rows


def _sequences(rows: list[dict[str, list[int]]], shape: Shape) -> list[Any]:
    from finetune_tui.core.training.batches import Example
    from finetune_tui.core.training.packing import Packs

    examples = [
        Example(
            np.array(row["input_ids"], dtype=np.int32),
            np.array([label != IGNORED for label in row["labels"]], dtype=np.uint8),
            f"rows.jsonl:{line}",
        )
        for line, row in enumerate(rows, 1)
    ]
    if not shape.packed:
        return [[example] for example in examples]
    packs = Packs([len(example.ids) for example in examples], PACK_TO)
    return [[examples[row] for row in packs[pack]] for pack in range(len(packs))]


def _batches(sequences: list[Any], shape: Shape, steps: int) -> Iterator[dict[str, Any]]:
    from finetune_tui.core.training.batches import Collator

    collate = Collator()
    for step in range(steps):
        batch = collate(sequences[step * shape.rows : (step + 1) * shape.rows])
        del batch["rows"]
        yield batch


def _tokens_after_warm_up(rows: Any, shape: Shape, steps: int, packed: bool) -> int:
    sequences = _sequences(rows, shape) if packed else [[row] for row in rows]
    counted = sequences[(WARM_UP + 1) * shape.rows : steps * shape.rows]
    if packed:
        return sum(len(row.ids) for sequence in counted for row in sequence)
    return sum(len(row["input_ids"]) for (row,) in counted)


def _arguments(shape: Shape, steps: int) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": shape.rows,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "linear",
        "warmup_steps": 2,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "train_sampling_strategy": "sequential",
        "logging_strategy": "steps",
        "logging_steps": 1,  # as ours does
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }


def _ticking(clock: Clock) -> Any:
    from transformers import TrainerCallback

    class Ticking(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    return Ticking()


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
