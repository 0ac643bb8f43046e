"""The header of a safetensors file, read with suspicion: what it says of every tensor, and no tensor.

The format is 8 bytes of length, that much JSON, and the numbers of all tensors one after the other.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import open_plain
from finetune_tui.core.text import plain, size

_LONGEST_HEADER = 16 * 2**20  # bytes; LoRA on each of 128 experts in 94 blocks has two thirds of it
_MOST_TENSORS = 100_000  # such a one has 72,000
_MOST_AXES = 8
_BYTES = dict(
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("BF16", "F16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """dtype: as safetensors spells it. begin, end: bytes, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file by name, in the order of its bytes.

    Raises UserError unless the tensors fill the file to its last byte, one after the other: nothing
    missing, nothing between them and nothing twice.
    """
    where = str(path)
    try:
        with open_plain(path) as file:
            whole = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if whole < 8 or length > whole - 8:
                raise UserError(f"not a whole safetensors file ({size(whole)})", where=where)
            if length > _LONGEST_HEADER:
                raise UserError(f"a header of {size(length)}, so it is not read", where=where)
            text = _read(file, length)
            if (
                text.count(b"{") > _MOST_TENSORS
            ):  # each tensor opens one, and parsing takes its time
                raise UserError(
                    f"more than {_MOST_TENSORS:,} tensors, so it is not read", where=where
                )
            header = json.loads(text)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=where) from error
    except (ValueError, RecursionError):
        raise UserError("its header is not safetensors", where=where) from None
    if not isinstance(header, dict):
        raise UserError("its header is not safetensors", where=where)
    header.pop("__metadata__", None)
    tensors = {name: _tensor(name, value, where) for name, value in header.items()}
    in_order = dict(sorted(tensors.items(), key=lambda named: (named[1].begin, named[1].end)))
    reached = 0
    for name, tensor in in_order.items():
        if tensor.begin != reached:
            words = f"{_named(name)} does not begin where the tensor before it ends"
            raise UserError(words, where=where)
        reached = tensor.end
    if reached != whole - 8 - length:
        raise UserError(
            f"{size(whole - 8 - length)} of numbers, where its header speaks of {size(reached)}",
            where=where,
        )
    return in_order


def _read(file: Any, length: int) -> bytes:
    pieces = []
    while length and (piece := file.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _tensor(name: str, value: Any, where: str) -> Tensor:
    """Raises UserError for what is no description of a tensor."""
    try:
        dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
        numbers = (*shape, begin, end)
        is_sound = (
            dtype in _BYTES
            and len(shape) <= _MOST_AXES
            and all(type(number) is int and 0 <= number < 2**62 for number in numbers)
            and end - begin == math.prod(shape) * _BYTES[dtype]
        )
    except (KeyError, TypeError, ValueError, IndexError):
        is_sound = False
    if not is_sound:
        raise UserError(f"{_named(name)} makes no sense: its shape and its bytes", where=where)
    return Tensor(dtype, shape, begin, end)


def _named(name: str) -> str:
    return f"'{plain(name, 120)}'"
