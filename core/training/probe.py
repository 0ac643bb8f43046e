"""Does the longest batch fit? Asked before the first step of data too large to know its longest rows."""

from typing import Any

import torch
from transformers import TrainerCallback

from finetune_tui.core.training.generators import undisturbed


def probe_memory(trainer: Any, length: int) -> None:
    """Go forward and backward once with a batch of the longest rows there can be, every token trained.

    length: tokens of a row. Nothing is changed by it: not the model, not its gradients, not a random
    generator. Raises what running out of memory raises.
    """
    rows = trainer.args.per_device_train_batch_size
    model = trainer.model_wrapped
    was_training = model.training
    model.train()
    ids = torch.ones((rows, length), dtype=torch.int64, device=trainer.args.device)
    try:
        with undisturbed():
            with trainer.compute_loss_context_manager():
                inputs = {"input_ids": ids, "labels": ids}
                loss = trainer.compute_loss(model, inputs, num_items_in_batch=rows * length)
            trainer.accelerator.backward(loss)
    finally:
        model.zero_grad(set_to_none=True)
        model.train(was_training)


class Probe(TrainerCallback):
    """Asks before the first step. length: of the longest sequence there can be."""

    def __init__(self, trainer: Any, length: int) -> None:
        self._trainer = trainer
        self._length = length

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        probe_memory(self._trainer, self._length)
