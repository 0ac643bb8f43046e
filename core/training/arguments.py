"""The spec in Trainer's words."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import is_torch_tf32_available

from finetune_tui.core.training.load import Device
from finetune_tui.core.tuning.spec import Spec


def training_arguments(spec: Spec, device: Device, folder: Path, evaluates: bool) -> Any:
    """The spec in Trainer's words.

    folder: where the run's checkpoints lie. What it reports elsewhere is kept beside that folder.
    Not in them are the parts that are ours: stopping early, the best evaluation, what is kept, and
    gradient checkpointing (see `recomputing`).
    """
    _report_beside(folder)
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=spec.per_device_train_batch_size,
        per_device_eval_batch_size=spec.per_device_train_batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation_steps,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.lr_scheduler_type,
        warmup_steps=spec.warmup_steps,
        num_train_epochs=spec.num_train_epochs,
        max_steps=spec.max_steps,
        max_grad_norm=spec.max_grad_norm,
        weight_decay=spec.weight_decay,
        optim=spec.optim,
        bf16=device.dtype is torch.bfloat16,
        fp16=device.on_gpu and device.dtype is torch.float16,  # brings its scaler, GPU only
        tf32=spec.tf32 if device.on_gpu and is_torch_tf32_available() else None,
        torch_compile=spec.torch_compile,
        use_liger_kernel=spec.use_liger_kernel,
        neftune_noise_alpha=spec.neftune_noise_alpha or None,
        use_cpu=not device.on_gpu,
        eval_strategy="steps" if evaluates and spec.eval_steps else "no",
        eval_steps=spec.eval_steps or None,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        save_strategy="steps" if spec.save_steps else "no",
        save_steps=spec.save_steps or 500,
        logging_strategy="steps",
        logging_steps=1,
        # A loss that is not a number is an end, not something to average away.
        logging_nan_inf_filter=False,
        report_to=spec.report_to,
        run_name=folder.parent.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        seed=spec.seed,
        data_seed=spec.seed,
        dataloader_pin_memory=device.on_gpu,
    )


def _report_beside(folder: Path) -> None:
    """TensorBoard and wandb take their folders from the environment; weights go nowhere."""
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder.parent / "tensorboard")
    os.environ["WANDB_DIR"] = str(folder.parent)
    os.environ["WANDB_LOG_MODEL"] = "false"
    os.environ.setdefault("WANDB_PROJECT", "finetune-tui")
