"""Recall: what an operation makes of tensors on meta is worked out once, and made again from memory.

Starred: imports torch. Shapes, strides and dtypes in give shapes, strides and dtypes out, and PyTorch takes
up to a millisecond to find out which; the blocks of a model ask the same thing again and again.
"""

from collections.abc import Hashable
from typing import Any, NamedTuple

import torch

# What it makes shares its argument's storage though its schema does not say so.
_SHARES = frozenset({torch.ops.aten._unsafe_view.default})


class _Made(NamedTuple):
    """A new tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    def again(self) -> torch.Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device="meta")


class Recall:
    """Runs operations on tensors of the meta device, each kind once."""

    def __init__(self) -> None:
        self._is_pure: dict[Any, bool] = {}
        self._made: dict[Hashable, _Made | list[_Made] | None] = {}

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operation's result: new tensors, as it would have made them."""
        pure = self._is_pure.get(func)
        if pure is None:
            pure = self._is_pure[func] = _makes_new_tensors(func)
        if not pure:
            return func(*args, **kwargs)
        try:
            key = (func, _key(args), _key(tuple(kwargs.items())))
            known = self._made[key]
        except TypeError:  # told apart by more than what is looked at here
            return func(*args, **kwargs)
        except KeyError:
            result = func(*args, **kwargs)
            self._made[key] = _seen(result)
            return result
        if known is None:
            return func(*args, **kwargs)
        if isinstance(known, _Made):
            return known.again()
        return tuple(made.again() for made in known)


def _makes_new_tensors(func: Any) -> bool:
    schema = func._schema
    return func not in _SHARES and not any(
        one.alias_info is not None for one in (*schema.arguments, *schema.returns)
    )


def _key(value: Any) -> Hashable:
    """Raises TypeError for what cannot be told apart."""
    if isinstance(value, torch.Tensor):
        if value.device.type != "meta":
            raise TypeError
        return value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_key, value))
    # 1, 1.0 and True are equal, and make different dtypes.
    return (type(value), value)


def _seen(result: Any) -> _Made | list[_Made] | None:
    """What was made, for making it again; None: other than new tensors on meta."""
    if isinstance(result, torch.Tensor):
        return _facts(result)
    if not isinstance(result, tuple):
        return None
    facts = [_facts(one) for one in result if isinstance(one, torch.Tensor)]
    made = [one for one in facts if one is not None]
    return made if len(made) == len(result) else None


def _facts(tensor: torch.Tensor) -> _Made | None:
    if tensor.device.type != "meta" or tensor.storage_offset():
        return None
    made = _Made(tuple(tensor.shape), tensor.stride(), tensor.dtype)
    holds = tensor.untyped_storage().nbytes()
    return made if made.again().untyped_storage().nbytes() == holds else None
