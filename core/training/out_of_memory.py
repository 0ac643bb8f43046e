"""Memory that ran out: how it is recognised, on a GPU and on the CPU, and how it is given back."""

import gc

import torch

_CPU_WORDS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
_GPU_WORDS = ("CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether smaller batches may help: torch's own error, or one that says so in words alone."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in _CPU_WORDS + _GPU_WORDS
    )


def forget_memory() -> None:
    """Give back what the failed attempt held; call it when its exception is gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
