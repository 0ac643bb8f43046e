"""Gradient checkpointing: a block keeps its input alone and runs again when its gradient is wanted."""

from typing import Any


def recompute_blocks(model: Any) -> None:
    """Let every block of a model with its selection run again in the backward pass.

    Transformers also asks for the gradient of the embedding's output, which only reentrant checkpointing
    needs. Here it would make every frozen block below the lowest that trains keep its input, run a second
    time and go backward, all for a gradient that nobody reads.
    """
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    model.disable_input_require_grads()
