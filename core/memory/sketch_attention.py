"""Norms, rotary positions and attention in a sketch."""

from typing import Any

from finetune_tui.core.memory.sketch import Sketch, Tensor
from finetune_tui.core.memory.sketch_layers import (
    FULL,
    Frame,
    Grads,
    add,
    by_column,
    constant,
    parameter,
    pointwise,
    scaled,
    to,
)

# ----- norms -------------------------------------------------------------------------------------


def rms_norm(sketch: Sketch, x: Tensor, trains: bool, width: int, frame: Frame) -> Tensor:
    """Llama's: normalised in float32, back in its dtype, then times the weight."""
    before = x.e
    wide = to(sketch, x, FULL)
    wide = _normalised(sketch, wide, width)
    del x
    normed = to(sketch, wide, before)
    weight = _norm_weight(sketch, trains, width, frame, frame.half)
    return by_column(sketch, normed, weight)


def gemma_norm(sketch: Sketch, x: Tensor, trains: bool, width: int, frame: Frame) -> Tensor:
    """Gemma's: times the weight in float32, then back in its dtype."""
    before = x.e
    normed = _normalised(sketch, to(sketch, x, FULL), width)
    normed = by_column(sketch, normed, _norm_weight(sketch, trains, width, frame, FULL))
    return to(sketch, normed, before)


def layer_norm(sketch: Sketch, x: Tensor, trains: bool, width: int, frame: Frame) -> Tensor:
    """torch's own, which autocast computes in float32."""
    x = to(sketch, x, FULL)
    made = sketch.new(x.numbers, FULL)
    rows = sketch.new(2 * x.numbers // width, FULL)
    numbers = x.numbers
    inputs = [x]
    if trains:
        inputs.append(parameter(2 * width, frame.accumulates))

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        found = s.new(numbers, FULL)
        return (found, s.new(2 * width, FULL)) if trains else (found,)

    made.node = sketch.node(inputs, (x.storage, rows.storage), back)
    return made


def _norm_weight(sketch: Sketch, trains: bool, width: int, frame: Frame, e: int) -> Tensor:
    return parameter(width, frame.accumulates) if trains else constant(width, e)


def _normalised(sketch: Sketch, wide: Tensor, width: int) -> Tensor:
    """x · rsqrt(mean(x²) + ε), in float32."""
    numbers = wide.numbers
    rows = numbers // width
    squares = sketch.new(numbers, FULL)
    root = sketch.new(rows, FULL)
    del squares

    def of_root(s: Sketch, _: Any, g: Tensor) -> Grads:
        # The mean's gradient at each number; then grad · (2 · x¹), each step a tensor of its own.
        spread = s.new(numbers, FULL)
        power = s.new(numbers, FULL)
        twice = s.new(numbers, FULL)
        found = s.new(numbers, FULL)
        del spread, power, twice
        return (found,)

    root.node = sketch.node((wide,), (wide.storage, root.storage), of_root)
    made = sketch.new(numbers, FULL)

    def of_product(s: Sketch, _: Any, g: Tensor) -> Grads:
        first = s.new(numbers, FULL)
        whole = s.new(numbers, FULL)
        second = s.new(rows, FULL)
        del whole
        return first, second

    made.node = sketch.node((wide, root), (wide.storage, root.storage), of_product)
    return made


NORMS = {"rms": rms_norm, "gemma": gemma_norm, "layer": layer_norm}


# ----- rotary positions --------------------------------------------------------------------------


def rope(sketch: Sketch, x: Tensor, turned: float, e: int, joins: bool) -> Tensor:
    """x · cos + rotate_half(x) · sin. e: bytes of a cosine.

    turned: the share of each head that turns. joins: the rest is put beside it, even when none is left.
    """
    whole, before = x.numbers, x.e
    numbers = round(whole * turned)
    e = max(e, before)
    by_cosine = sketch.new(numbers, e)
    minus = sketch.new(numbers // 2, before)
    half = sketch.new(numbers, before)
    del minus
    by_sine = sketch.new(numbers, e)
    del half
    made = sketch.new(numbers, e)
    del by_cosine, by_sine
    if joins:
        made = sketch.new(whole, e)

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        by_sine = s.new(numbers, e)
        if e != before:
            by_sine = s.new(numbers, before)
        minus = s.new(numbers // 2, before)
        total = s.new(numbers, before)
        del minus
        s.spike(numbers * before)
        del by_sine
        by_cosine = s.new(numbers, e)
        if e != before:
            by_cosine = s.new(numbers, before)
        del by_cosine
        if joins:
            rest = s.new(whole, before)
            s.spike(whole * before)
            del total
            return (rest,)
        return (total,)

    made.node = sketch.node((x,), (None,), back)
    return made


# ----- attention ---------------------------------------------------------------------------------


def fused_attention(
    sketch: Sketch, frame: Frame, heads: tuple[int, int, int], q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    """The flash kernel: saves what went in, what came out, and a number for each row and head.

    heads: of queries, of keys, and numbers a head has.
    """
    e = frame.half if frame.autocast else q.e
    q, k, v = to(sketch, q, e), to(sketch, k, e), to(sketch, v, e)
    made = sketch.new(q.numbers, e)
    rows = sketch.new(frame.tokens * heads[0], FULL)
    sizes = (q.numbers, k.numbers, v.numbers)
    scratch = 0
    if e < FULL:
        long = -(-frame.length // 128) * 128
        scratch = 4 * frame.rows * heads[0] * long * (-(-heads[2] // 32) * 32 + 1)
        if heads[1] != heads[0]:
            scratch += 4 * q.numbers

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        found = [s.new(size, e) for size in sizes]
        s.spike(scratch)
        return found

    saved = (q.storage, k.storage, v.storage, made.storage, rows.storage)
    made.node = sketch.node((q, k, v), saved, back)
    return made


def masked_attention(
    sketch: Sketch, frame: Frame, heads: tuple[int, int, int], q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    """The memory-efficient kernel: keys and values repeated for each head, the mask added as numbers."""
    if heads[0] != heads[1]:
        k, v = (_repeated(sketch, x, q.numbers, heads[1] == 1) for x in (k, v))
    e = frame.half if frame.autocast else q.e
    q, k, v = to(sketch, q, e), to(sketch, k, e), to(sketch, v, e)
    scores = frame.rows * frame.length * frame.length
    negated = sketch.new(scores, 1)
    bias = sketch.new(scores, e)
    del negated
    if frame.length % 16:
        bias = sketch.new(scores // frame.length * -(-frame.length // 16) * 16, e)
    made = sketch.new(q.numbers, e)
    rows = sketch.new(frame.rows * heads[0] * -(-frame.length // 32) * 32, FULL)
    numbers = q.numbers

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        return [s.new(numbers, e) for _ in range(3)]

    saved = (q.storage, k.storage, v.storage, bias.storage, made.storage, rows.storage)
    made.node = sketch.node((q, k, v), saved, back)
    return made


def eager_attention(
    sketch: Sketch, frame: Frame, heads: tuple[int, int, int], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Gemma 2's, with its scores capped: step by step. Returns output and weights."""
    if heads[0] != heads[1]:
        k, v = _repeated(sketch, k, q.numbers), _repeated(sketch, v, q.numbers)
    e = frame.half if frame.autocast else q.e
    q, k, v = to(sketch, q, e), to(sketch, k, e), to(sketch, v, e)
    scores = frame.tokens * heads[0] * frame.length
    if frame.rows > 1:  # heads cannot be folded into the batch without a copy
        q = scaled(sketch, q)
    weights = _matched(sketch, q, k, scores)
    weights = scaled(sketch, weights)
    weights = scaled(sketch, weights)
    weights = pointwise(sketch, weights, "result")
    weights = scaled(sketch, weights)
    mask = constant(0, e)
    weights = add(sketch, weights, mask)
    weights = to(sketch, pointwise(sketch, to(sketch, weights, FULL), "result"), e)
    made = scaled(sketch, _matched(sketch, weights, v, q.numbers))
    return made, weights


def plain_attention(
    sketch: Sketch, frame: Frame, heads: tuple[int, int, int], q: Tensor, k: Tensor, v: Tensor
) -> Tensor:
    """torch's own steps, where no kernel takes float32 with fewer keys than queries."""
    k, v = _repeated(sketch, k, q.numbers), _repeated(sketch, v, q.numbers)
    scores = frame.tokens * heads[0] * frame.length
    q, k = scaled(sketch, q), scaled(sketch, k)
    if frame.rows > 1:
        q, v = scaled(sketch, q), scaled(sketch, v)
    weights = _matched(sketch, q, k, scores)
    weights = add(sketch, weights, constant(0, weights.e))
    weights = pointwise(sketch, weights, "result")
    return scaled(sketch, _matched(sketch, weights, v, q.numbers))


def _repeated(sketch: Sketch, x: Tensor, numbers: int, is_one_head: bool = False) -> Tensor:
    """Each head of keys or values as often as queries share it; a single one is only looked at again."""
    made = Tensor(x.storage, numbers, x.e, None) if is_one_head else sketch.new(numbers, x.e)
    before, e = x.numbers, x.e
    made.node = sketch.node((x,), (), lambda s, _, g: (s.new(before, e),))
    return made


def _matched(sketch: Sketch, x: Tensor, y: Tensor, numbers: int) -> Tensor:
    """A batch of products of two tensors that both may need a gradient."""
    made = sketch.new(numbers, x.e)
    sizes, e = (x.numbers, y.numbers), x.e
    made.node = sketch.node(
        (x, y), (x.storage, y.storage), lambda s, _, g: [s.new(size, e) for size in sizes]
    )
    return made
