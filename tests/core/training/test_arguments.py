"""Each key reaches Trainer, and each optimizer really is the one that was asked for."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset
from transformers import Trainer

from finetune_tui.core.training.arguments import training_arguments
from finetune_tui.core.training.load import Device
from finetune_tui.core.tuning.spec import FIELDS, Spec

CPU = Device(torch.device("cpu"), torch.float32)
ROWS, SIZE = 8, 128

# Name → class and the dtypes of what it keeps for each parameter.
OPTIMIZERS: dict[str, tuple[str, set[torch.dtype]]] = {
    "adamw_torch_fused": ("AdamW", {torch.float32}),
    "adamw_torch": ("AdamW", {torch.float32}),
    "adamw_8bit": ("AdamW", {torch.uint8}),
    "paged_adamw_8bit": ("AdamW", {torch.uint8}),
    "paged_adamw_32bit": ("AdamW", {torch.float32}),
    "lion_8bit": ("Lion", {torch.uint8}),
    "paged_lion_8bit": ("Lion", {torch.uint8}),
    "adafactor": ("Adafactor", {torch.float32}),
    "sgd": ("SGD", set()),
}


class Squares(Dataset[dict[str, torch.Tensor]]):
    """Fixed random inputs for which the right answer is zero."""

    def __init__(self) -> None:
        self.rows = torch.randn(ROWS, SIZE, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.rows[index], "labels": torch.zeros(1)}


class Linear(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(SIZE, SIZE)

    def forward(self, x: Any = None, labels: Any = None) -> dict[str, torch.Tensor]:
        return {"loss": self.linear(x).pow(2).mean()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_itself_and_learns(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = Spec(use_cpu=True, max_steps=6, save_steps=0, gradient_accumulation_steps=1)
    spec = spec.changed(optim=name, learning_rate=1 if name == "sgd" else 2e-3, warmup_steps=0)
    model, rows = Linear(), Squares()
    before = float(model(rows.rows)["loss"])
    arguments = training_arguments(spec, CPU, tmp_path, evaluates=False)
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    assert float(model(rows.rows)["loss"]) < before

    optimizer = trainer.optimizer.optimizer
    kind, dtypes = OPTIMIZERS[name]
    assert type(optimizer).__name__ == kind
    kept = optimizer.state[model.linear.weight]
    large = {value.dtype for value in kept.values() if getattr(value, "numel", int)() >= SIZE}
    assert large - {torch.float32} == dtypes - {torch.float32}
    assert dtypes <= large
    fused = {group.get("fused") for group in optimizer.param_groups}
    assert (fused == {True}) == (name == "adamw_torch_fused")


def test_every_choice_of_optim_is_tested_here() -> None:
    assert set(FIELDS["optim"].choices) == OPTIMIZERS.keys()


@pytest.mark.parametrize(
    ("key", "value", "theirs", "expected"),
    [
        ("per_device_train_batch_size", 3, "per_device_train_batch_size", 3),
        ("gradient_accumulation_steps", 5, "gradient_accumulation_steps", 5),
        ("learning_rate", 3e-4, "learning_rate", 3e-4),
        ("lr_scheduler_type", "constant_with_warmup", "lr_scheduler_type", "constant_with_warmup"),
        ("num_train_epochs", 1.5, "num_train_epochs", 1.5),
        ("max_steps", 7, "max_steps", 7),
        ("max_grad_norm", 0.3, "max_grad_norm", 0.3),
        ("weight_decay", 0.02, "weight_decay", 0.02),
        ("neftune_noise_alpha", 5, "neftune_noise_alpha", 5),
        ("neftune_noise_alpha", 0, "neftune_noise_alpha", None),
        ("torch_compile", True, "torch_compile", True),
        ("use_liger_kernel", True, "use_liger_kernel", True),
        ("eval_steps", 20, "eval_steps", 20),
        ("eval_steps", 0.25, "eval_steps", 0.25),
        ("eval_steps", 0, "eval_strategy", "no"),
        ("save_steps", 0, "save_strategy", "no"),
        ("save_steps", 0.5, "save_steps", 0.5),
        ("report_to", "none", "report_to", []),
        ("seed", 7, "data_seed", 7),
        ("tf32", True, "tf32", None),  # no GPU here
    ],
)
def test_a_key_reaches_trainer(
    key: str, value: Any, theirs: str, expected: Any, tmp_path: Path
) -> None:
    spec = Spec(use_cpu=True).changed(**{key: value})
    assert getattr(training_arguments(spec, CPU, tmp_path, evaluates=True), theirs) == expected


@pytest.mark.parametrize(
    ("warmup", "steps"), [(0.03, 30), (0.1, 100), (50, 50), (0, 0), (1, 1), (0.0001, 1)]
)
def test_warmup_below_one_is_a_share(warmup: float, steps: int, tmp_path: Path) -> None:
    spec = Spec(use_cpu=True).changed(warmup_steps=warmup)
    arguments = training_arguments(spec, CPU, tmp_path, evaluates=False)
    assert arguments.get_warmup_steps(1000) == steps


@pytest.mark.parametrize(
    ("dtype", "on_gpu", "bf16", "fp16"),
    [
        (torch.float32, False, False, False),
        (torch.bfloat16, False, True, False),
        (torch.float16, False, False, False),  # its loss scaler needs a GPU
    ],
)
def test_autocast_follows_the_dtype_of_the_base(
    dtype: torch.dtype, on_gpu: bool, bf16: bool, fp16: bool, tmp_path: Path
) -> None:
    device = Device(torch.device("cuda" if on_gpu else "cpu"), dtype)
    arguments = training_arguments(Spec(use_cpu=True), device, tmp_path, evaluates=False)
    assert (arguments.bf16, arguments.fp16) == (bf16, fp16)


def test_what_is_reported_elsewhere_lies_beside_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_DIR", "WANDB_LOG_MODEL", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "before")
    arguments = training_arguments(
        Spec(use_cpu=True), CPU, tmp_path / "the-run" / "checkpoints", evaluates=False
    )
    assert arguments.run_name == "the-run"
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "the-run" / "tensorboard")
    assert os.environ["WANDB_DIR"] == str(tmp_path / "the-run")
    assert os.environ["WANDB_LOG_MODEL"] == "false"
    assert os.environ["WANDB_PROJECT"] == "before"  # the person's own stays
