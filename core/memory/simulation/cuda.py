"""A GPU's habits on a device that is none: autocast, attention and dropout kernels, kernels' workspaces.

Starred: imports torch. On `meta` torch knows no autocast, breaks attention and dropout into small steps,
and its stand-ins for kernels take no scratch memory. What a CUDA build does instead is done here, from
its sources: ATen's autocast_mode.h, native/transformers/sdp_utils.cpp, bitsandbytes' backends/cuda/ops.py.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

CUBLAS_WORKSPACE = 8_519_680
"""What cuBLAS takes at the first product of a thread, and of autograd's own (torch's default setting)."""

# bitsandbytes' fused 4-bit kernel serves short batches; which, depends on the card. Above this none does
# on an H100; below it the buffer of the backward pass is as large.
_FUSED_4BIT_ROWS = 512

_aten = torch.ops.aten

# ATen/autocast_mode.h: AT_FORALL_LOWER_PRECISION_FP, and of the fp32 lists what language models call.
_IN_16_BITS = frozenset(
    {
        functional.linear,
        torch.matmul,
        torch.Tensor.matmul,
        torch.Tensor.__matmul__,
        torch.Tensor.__rmatmul__,
        torch.mm,
        torch.Tensor.mm,
        torch.bmm,
        torch.Tensor.bmm,
        torch.addmm,
        torch.baddbmm,
        torch.einsum,
        functional.conv1d,
        functional.scaled_dot_product_attention,
    }
)
_IN_32_BITS = frozenset(
    {
        torch.pow,
        torch.Tensor.pow,
        torch.Tensor.__pow__,
        torch.rsqrt,
        torch.Tensor.rsqrt,
        torch.reciprocal,
        torch.exp,
        torch.Tensor.exp,
        torch.log,
        torch.Tensor.log,
        torch.logsumexp,
        torch.Tensor.logsumexp,
        functional.layer_norm,
        functional.softplus,
        functional.nll_loss,
        functional.cross_entropy,
    }
)
# Those are told to answer in float32; the sums among them read 16 bits without a copy.
_ANSWERS_IN_32_BITS = frozenset(
    {
        torch.sum,
        torch.Tensor.sum,
        torch.cumsum,
        torch.Tensor.cumsum,
        torch.linalg.vector_norm,
        functional.softmax,
        functional.log_softmax,
        torch.softmax,
        torch.log_softmax,
        torch.Tensor.softmax,
        torch.Tensor.log_softmax,
    }
)


class CudaHabits(TorchFunctionMode):
    """While entered, torch functions do what a CUDA build would.

    dtype: what autocast casts to inside `autocast()`; None: the run has no autocast.
    """

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self._dtype = dtype
        self._casting = False
        self._paused: list[bool] = []
        self._casts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def autocast(self) -> AbstractContextManager[None]:
        """Autocast to `dtype`, with its cache of cast weights that is dropped at the end."""
        return nullcontext() if self._dtype is None else self._autocast()

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        before = self._casting
        self._set(True)
        try:
            yield
        finally:
            self._set(before)
            if not before:
                self._casts.clear()

    @property
    def casts(self) -> bool:
        return self._dtype is not None

    def pause(self) -> None:
        """Leave autocast, as the models do around their rotary positions."""
        self._paused.append(self._casting)
        self._set(False)

    def go_on(self) -> None:
        self._set(self._paused.pop())

    def _set(self, casting: bool) -> None:
        self._casting = casting
        torch.set_autocast_enabled("cuda", casting)  # PEFT asks for it
        if self._dtype is not None:
            torch.set_autocast_dtype("cuda", self._dtype)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._casting:
            if func in _IN_16_BITS:
                args, kwargs = self._cast_all(args, self._dtype), self._cast_named(kwargs)
            elif func in _IN_32_BITS:
                args = self._cast_all(args, torch.float32)
            elif func in _ANSWERS_IN_32_BITS and _is_16_bits(args) and not kwargs.get("dtype"):
                kwargs = {**kwargs, "dtype": torch.float32}
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func in (torch.Tensor.nonzero, torch.nonzero) and args[0].is_meta:
            # Only data can tell how many; the most there can be, in a loss all tokens, is the need.
            return args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.int64)
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        return func(*args, **kwargs)

    def _cast_named(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {name: self._cast(value, self._dtype) for name, value in kwargs.items()}

    def _cast_all(self, args: Any, dtype: torch.dtype | None) -> tuple[Any, ...]:
        return tuple(self._cast(value, dtype) for value in args)

    def _cast(self, value: Any, dtype: torch.dtype | None) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        if value.dtype == dtype or value.dtype == torch.float64:
            return value
        keeps = (
            dtype == self._dtype
            and value.dtype == torch.float32
            and value.requires_grad
            and value.is_leaf
            and not value._is_view()
        )
        if not keeps:
            return value.to(dtype)
        found = self._casts.get(id(value))
        if found is None:
            found = self._casts[id(value)] = (value, value.to(dtype))
        return found[1]


def _is_16_bits(args: Any) -> bool:
    return bool(args) and args[0].dtype in (torch.float16, torch.bfloat16)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Flash without a mask, the memory-efficient kernel with one or in fp32, else plain steps."""
    is_16_bits = query.dtype in (torch.float16, torch.bfloat16)
    if attn_mask is None and is_16_bits and query.shape[-1] <= 256:
        found = _aten._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, False, scale=scale
        )
        return found[0]
    if key.shape[1] == query.shape[1]:
        bias = None if attn_mask is None else _bias(attn_mask, query)
        found = _aten._scaled_dot_product_efficient_attention(
            query, key, value, bias, True, dropout_p, is_causal, scale=scale
        )
        return found[0]
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def _bias(mask: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """The mask as the kernel takes it: added to the scores, its rows a multiple of 16 elements long."""
    if mask.dtype is torch.bool:
        zero = torch.zeros((), dtype=query.dtype, device=query.device)
        mask = torch.where(mask.logical_not(), float("-inf"), zero)
    short = -mask.shape[-1] % 16
    if short:
        mask = functional.pad(mask, (0, short))[..., : mask.shape[-1]]
    return mask.expand(query.shape[0], query.shape[1], *mask.shape[-2:])


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, **_: Any) -> torch.Tensor:
    if not training or p == 0:
        return input
    return torch.native_dropout(input, p, True)[0]


def kernel_workspaces(func: Any, args: Any, result: Any) -> Iterator[int]:
    """Bytes a CUDA kernel takes beside its results, for the time it runs."""
    name = func._schema.name
    if name == "bitsandbytes::gemm_4bit":
        rows = prod(args[0].shape[:-1])
        if rows > _FUSED_4BIT_ROWS:
            numbers = prod(args[2])
            yield numbers * args[0].element_size() + 2 * 4 * (numbers // 64)
    elif name == "bitsandbytes::int8_scaled_mm":
        # The product in int32, then in fp16 before it is cast; with outliers it is added to once more.
        yield result.numel() * (4 + 2 + (0 if result.dtype is torch.float16 else 2))
    elif name == "bitsandbytes::int8_vectorwise_quant":
        yield 3 * args[0].numel()  # the absolute values, and which of them are outliers
    elif name == "bitsandbytes::int8_vectorwise_dequant":
        yield result.numel() * result.element_size()  # times the scales, before the constant
    elif name == "aten::_scaled_dot_product_flash_attention_backward":
        yield _flash_backward(args[1], args[2])


def _flash_backward(query: torch.Tensor, key: torch.Tensor) -> int:
    """The gradient of the query summed in fp32, a row sum; with grouped heads, keys' and values' per head."""
    batch, heads, length, dim = query.shape
    long = -(-length // 128) * 128
    sums = 4 * batch * heads * long * (-(-dim // 32) * 32 + 1)
    if key.shape[1] == heads:
        return sums
    return sums + 2 * 2 * batch * heads * length * dim
