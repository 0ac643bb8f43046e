"""Every random generator a training draws from, as they stand at one moment."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file


@dataclass(frozen=True, slots=True)
class Generators:
    """python, numpy: as their modules give them. cpu, cuda: uint8, as torch gives them."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @staticmethod
    def now() -> "Generators":
        """Some tens of microseconds: taken after every optimizer step."""
        return Generators(
            random.getstate(),
            np.random.get_state(legacy=True),
            torch.get_rng_state(),
            torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        )

    def put_back(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)

    def save(self, path: Path) -> dict[str, Any]:
        """Write the large parts to `path`; what is returned belongs into a JSON file beside it."""
        kind, keys, position, has_gauss, cached = self.numpy
        tensors = {"torch": self.cpu, "numpy": torch.from_numpy(keys.astype(np.int64))}
        if self.cuda is not None:
            tensors["cuda"] = self.cuda
        save_file(tensors, path)
        return {"python": self.python, "numpy": [kind, position, has_gauss, cached]}

    @staticmethod
    def load(path: Path, rest: dict[str, Any]) -> "Generators":
        tensors = load_file(path)
        version, internal, gauss = rest["python"]
        kind, position, has_gauss, cached = rest["numpy"]
        keys = tensors["numpy"].numpy().astype(np.uint32)
        return Generators(
            (version, tuple(internal), gauss),
            (kind, keys, position, has_gauss, cached),
            tensors["torch"],
            tensors.get("cuda"),
        )


@contextmanager
def undisturbed() -> Iterator[None]:
    """What happens inside draws what it likes; afterwards every generator stands as before."""
    before = Generators.now()
    try:
        yield
    finally:
        before.put_back()
