"""Trainer without its walks over all modules: of a large model they cost some 14 ms of every step."""

import functools
from typing import Any

import accelerate.optimizer
import torch
from torch import nn
from transformers import Trainer

# At every step it looks on the disk for a package, twice: once is enough.
accelerate.optimizer.is_lomo_available = functools.cache(accelerate.optimizer.is_lomo_available)


class LeanTrainer(Trainer):
    """A Trainer on one device, whose `train_dataset` says in which order it is taken: see TrainRows.

    What trains is known once training begins; nothing else ever gets a gradient.
    """

    _trained: list[nn.Parameter]
    _is_set_to_train = False

    def train(self, *arguments: Any, **rest: Any) -> Any:
        model = self.model
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        model.__dict__["zero_grad"] = self._forget_gradients
        try:
            return super().train(*arguments, **rest)
        finally:
            del model.__dict__["zero_grad"]

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        arguments = self.args
        rows = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        return self.train_dataset.order(rows)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Forward and backward of one batch: the loss, scaled for accumulation and detached."""
        if not (self._is_set_to_train and model.training):
            model.train()
            self._is_set_to_train = True
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        if not self.model_accepts_loss_kwargs or num_items_in_batch is None:
            loss = loss / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        return loss.detach()

    def _clip_grad_norm(self, model: Any) -> Any:
        self.accelerator.unscale_gradients()  # of fp16
        return torch.nn.utils.clip_grad_norm_(self._trained, self.args.max_grad_norm)

    def _forget_gradients(self, set_to_none: bool = True) -> None:
        for parameter in self._trained:
            parameter.grad = None
