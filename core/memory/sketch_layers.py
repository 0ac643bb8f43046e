"""Operations and layers of language models in a sketch: what each allocates, saves and gives back.

Follows ATen's derivatives.yaml, transformers' modeling files, PEFT's LoRA layers and bitsandbytes' matrix
products, in the order in which they run. Sizes: N tokens of a batch, `numbers` elements, `e` bytes each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune_tui.core.memory.sketch import Leaf, Sketch, Tensor

Grads = Sequence[Tensor | None]

HALF, FULL = 2, 4


@dataclass(frozen=True, slots=True)
class Frame:
    """What all layers of a step share.

    half: bytes a frozen number of the base has, and what autocast computes in. has_start: what LoRA began
    with is taken off its output (core.training.starts). accumulates: gradients of an earlier micro-batch
    are there already. stream: bytes a number has between the blocks, at first.
    """

    rows: int
    length: int
    half: int
    autocast: bool
    dropout: float
    dora: bool
    has_start: bool
    accumulates: bool
    stream: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True, slots=True)
class Line:
    """A linear layer as it trains. bits: of the frozen matrix as held; 0: it trains, in float32.

    rank: of its LoRA; 0: none. bias: one that trains. tokens: rows of a vocabulary's matrix that train by
    themselves.
    """

    inputs: int
    outputs: int
    bits: int
    rank: int = 0
    bias: bool = False
    tokens: int = 0


# ----- elementwise -------------------------------------------------------------------------------


def parameter(numbers: int, accumulates: bool) -> Tensor:
    """A trained parameter in float32; its own bytes are counted elsewhere."""
    return Tensor(None, numbers, FULL, Leaf(accumulates))


def constant(numbers: int, e: int) -> Tensor:
    """A frozen weight; its own bytes are counted elsewhere."""
    return Tensor(None, numbers, e, None)


def to(sketch: Sketch, x: Tensor, e: int) -> Tensor:
    if x.e == e:
        return x
    made = sketch.new(x.numbers, e)
    if x.node is not None:
        numbers, before = x.numbers, x.e
        made.node = sketch.node((x,), (), lambda s, _, g: (s.new(numbers, before),))
    return made


def scaled(sketch: Sketch, x: Tensor) -> Tensor:
    """Times a number."""
    made = sketch.new(x.numbers, x.e)
    numbers, e = x.numbers, x.e
    made.node = sketch.node((x,), (), lambda s, _, g: (s.new(numbers, e),))
    return made


def copied(sketch: Sketch, x: Tensor) -> Tensor:
    """The same in another order of memory."""
    made = sketch.new(x.numbers, x.e)
    made.node = sketch.node((x,), (), lambda s, _, g: (g,))
    return made


def add(sketch: Sketch, x: Tensor, y: Tensor) -> Tensor:
    made = sketch.new(max(x.numbers, y.numbers), max(x.e, y.e))
    made.node = sketch.node((x, y), (), lambda s, _, g: (g, g))
    return made


def multiply(sketch: Sketch, x: Tensor, y: Tensor) -> Tensor:
    """Of equal sizes."""
    saved = _for_each_other(x, y)
    sketch.saving(saved)
    made = sketch.new(x.numbers, max(x.e, y.e))
    numbers, e = x.numbers, made.e
    wants_x, wants_y = x.node is not None, y.node is not None

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        gx = s.new(numbers, e) if wants_x else None
        return gx, s.new(numbers, e) if wants_y else None

    made.node = sketch.node((x, y), saved, back)
    return made


def _for_each_other(x: Tensor, y: Tensor) -> tuple[Any, ...]:
    """What a product saves: each factor for the other's gradient."""
    if x.node is None:
        return (x.storage,) if y.node is not None else ()
    return (x.storage, y.storage) if y.node is not None else (y.storage,)


def pointwise(sketch: Sketch, x: Tensor, keeps: str) -> Tensor:
    """A function of one tensor that saves its input ("input") or its result ("result")."""
    made = sketch.new(x.numbers, x.e)
    numbers, e = x.numbers, x.e
    saved = (x.storage if keeps == "input" else made.storage,)
    made.node = sketch.node((x,), saved, lambda s, _, g: (s.new(numbers, e),))
    return made


def dropout(sketch: Sketch, x: Tensor) -> Tensor:
    made = sketch.new(x.numbers, x.e)
    mask = sketch.new(x.numbers, 1)
    numbers, e = x.numbers, x.e
    made.node = sketch.node((x,), (mask.storage,), lambda s, _, g: (s.new(numbers, e),))
    return made


# ----- products ----------------------------------------------------------------------------------


def product(sketch: Sketch, tokens: int, x: Tensor, w: Tensor, inputs: int, outputs: int) -> Tensor:
    """x (tokens × inputs) times a matrix (inputs × outputs)."""
    saved = _for_each_other(x, w)
    sketch.saving(saved)
    made = sketch.new(tokens * outputs, x.e)
    e, wants_x, wants_w = x.e, x.node is not None, w.node is not None

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        gx = s.new(tokens * inputs, e) if wants_x else None
        return gx, s.new(inputs * outputs, e) if wants_w else None

    made.node = sketch.node((x, w), saved, back)
    return made


def weight_in(sketch: Sketch, w: Tensor, e: int, key: str) -> Tensor:
    """A trained weight as autocast casts it, once for the whole forward pass."""
    if w.e == e:
        return w
    found = sketch.casts.get(key)
    if found is None:
        found = sketch.casts[key] = to(sketch, w, e)
    return found


def linear(sketch: Sketch, frame: Frame, line: Line, x: Tensor, key: str) -> Tensor:
    """The layer with its LoRA. key: its name, for the cache of cast weights."""
    if not line.rank:
        return _base(sketch, frame, line, x, key)
    made = _adapted(sketch, frame, line, x, key)
    return _without_start(sketch, frame, line, x, made) if frame.has_start else made


def _adapted(sketch: Sketch, frame: Frame, line: Line, x: Tensor, key: str) -> Tensor:
    made = _base(sketch, frame, line, x, key)
    if line.bits == 4:
        # PEFT copies the result of a 4-bit product before it adds to it.
        made = scaled(sketch, made)
    if line.bits == 16 or not frame.autocast:
        x = to(sketch, x, FULL)
    if frame.dora:
        return _dora(sketch, frame, line, x, made, key)
    if frame.dropout:
        return add(
            sketch, made, scaled(sketch, _low_rank(sketch, frame, line, dropout(sketch, x), key))
        )
    return add(sketch, made, scaled(sketch, _low_rank(sketch, frame, line, x, key)))


def _without_start(sketch: Sketch, frame: Frame, line: Line, x: Tensor, made: Tensor) -> Tensor:
    """The output less what the frozen start of the adapter says; autocast casts that anew each time."""
    e = frame.half if frame.autocast else FULL
    low = to(sketch, x, e)
    for inputs, outputs in ((line.inputs, line.rank), (line.rank, line.outputs)):
        numbers = inputs * outputs
        matrix = constant(numbers, e) if e == FULL else sketch.new(numbers, e)
        low = product(sketch, frame.tokens, low, matrix, inputs, outputs)
    share = to(sketch, scaled(sketch, low), made.e)
    out = sketch.new(made.numbers, made.e)
    numbers, e = out.numbers, out.e
    out.node = sketch.node((made, share), (), lambda s, _, g: (g, s.new(numbers, e)))
    return out


def with_tokens(sketch: Sketch, frame: Frame, line: Line) -> Tensor:
    """A vocabulary's matrix, copied to have the rows that train put in."""
    width = min(line.inputs, line.outputs)
    numbers, e = line.tokens * width, frame.half
    rows = to(sketch, parameter(numbers, frame.accumulates), e)
    made = sketch.new(line.inputs * line.outputs, e)
    made.node = sketch.node((rows,), (), lambda s, _, g: (s.new(numbers, e),))
    return made


def _low_rank(sketch: Sketch, frame: Frame, line: Line, x: Tensor, key: str) -> Tensor:
    down = _adapter(sketch, frame, line.inputs, line.rank, x, f"{key}.A")
    del x
    return _adapter(sketch, frame, line.rank, line.outputs, down, f"{key}.B")


def _adapter(
    sketch: Sketch, frame: Frame, inputs: int, outputs: int, x: Tensor, key: str
) -> Tensor:
    x = to(sketch, x, frame.half if frame.autocast else FULL)
    weight = _adapter_weight(sketch, frame, inputs * outputs, key)
    return product(sketch, frame.tokens, x, weight, inputs, outputs)


def _adapter_weight(sketch: Sketch, frame: Frame, numbers: int, key: str) -> Tensor:
    weight = sketch.casts.get(key)
    if weight is None:
        weight = parameter(numbers, frame.accumulates)
        weight = weight_in(sketch, weight, frame.half if frame.autocast else FULL, key)
    return weight


def _base(sketch: Sketch, frame: Frame, line: Line, x: Tensor, key: str) -> Tensor:
    match line.bits:
        case 4:
            made = _four_bit(sketch, frame, line, x)
        case 8:
            made = _eight_bit(sketch, frame, line, x)
        case _:
            e = frame.half if frame.autocast else x.e
            x = to(sketch, x, e)
            if line.tokens:
                weight = with_tokens(sketch, frame, line)
            elif line.bits:
                weight = constant(line.inputs * line.outputs, e)
            else:
                weight = parameter(line.inputs * line.outputs, frame.accumulates)
                weight = weight_in(sketch, weight, e, key)
            if line.bias and line.bits:
                return _with_bias(sketch, frame, line, x, weight)
            return product(sketch, frame.tokens, x, weight, line.inputs, line.outputs)
    if line.bias:
        made = _plus_bias(sketch, frame, line, made)
    return made


def _with_bias(sketch: Sketch, frame: Frame, line: Line, x: Tensor, weight: Tensor) -> Tensor:
    """The bias trains, the matrix does not: one operation that saves only the matrix."""
    made = sketch.new(frame.tokens * line.outputs, x.e)
    numbers, e, wants_x = x.numbers, x.e, x.node is not None
    bias = parameter(line.outputs, frame.accumulates)

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        return s.new(numbers, e) if wants_x else None, s.new(line.outputs, FULL)

    made.node = sketch.node((x, bias), (weight.storage,) if wants_x else (), back)
    return made


def _plus_bias(sketch: Sketch, frame: Frame, line: Line, made: Tensor) -> Tensor:
    bias = parameter(line.outputs, frame.accumulates)
    out = sketch.new(made.numbers, made.e)
    out.node = sketch.node((made, bias), (), lambda s, _, g: (g, s.new(line.outputs, FULL)))
    return out


def _four_bit(sketch: Sketch, frame: Frame, line: Line, x: Tensor) -> Tensor:
    """bitsandbytes' NF4: computed in 16 bits, the matrix unpacked for the time of a product."""
    before = x.e
    x = to(sketch, x, frame.half)
    matrix = frame.half * line.inputs * line.outputs
    scales = 4 * (line.inputs * line.outputs // 64)
    made = sketch.new(frame.tokens * line.outputs, frame.half)
    if frame.tokens > 512:
        sketch.spike(matrix + 2 * scales)
    numbers, e = x.numbers, frame.half

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        s.spike(matrix + scales)
        made = s.new(numbers, e)
        s.spike(matrix)
        return (made,)

    made.node = sketch.node((x,), (), back)
    return to(sketch, made, before)


def _eight_bit(sketch: Sketch, frame: Frame, line: Line, x: Tensor) -> Tensor:
    """bitsandbytes' int8: rows quantised on the way in, the product in int32; it holds on to its input."""
    tokens, numbers, e = frame.tokens, x.numbers, x.e
    in_16_bits = sketch.new(numbers, HALF)  # float16, whatever the rest is in
    rows = sketch.new(numbers, 1)
    sketch.spike(3 * numbers)
    del in_16_bits
    made = sketch.new(tokens * line.outputs, e)
    sketch.spike(8 * made.numbers)  # int32, then float16, then as the input is
    del rows
    if x.node is not None:
        sketch.kept.append(x.storage)
    matrix = e * line.inputs * line.outputs

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        found = s.new(numbers, e)
        s.spike(matrix)
        return (found,)

    made.node = sketch.node((x,), (), back)
    return made


def _dora(sketch: Sketch, frame: Frame, line: Line, x: Tensor, made: Tensor, key: str) -> Tensor:
    """DoRA's part: (m - 1) · base + m · low rank · scaling, m = magnitude / norm of the whole matrix."""
    dropped = bool(frame.dropout)
    if dropped:
        x = dropout(sketch, x)
    numbers, tokens = line.inputs * line.outputs, frame.tokens
    e = frame.half if frame.autocast else FULL
    # The matrix of the adapters, made from an identity matrix, and the layer's own: both in the dtype of
    # x and named to the end, the first with what its gradient would need; their sum is not kept.
    eye = sketch.new(line.inputs * line.inputs, FULL)
    eye_cast = to(sketch, eye, e)
    _adapter_weight(sketch, frame, line.inputs * line.rank, f"{key}.A")
    down = sketch.new(line.inputs * line.rank, e)
    _adapter_weight(sketch, frame, line.rank * line.outputs, f"{key}.B")
    delta = sketch.new(numbers, e)
    del eye
    if not sketch.saves:
        del eye_cast, down
    delta = to(sketch, delta, x.e)
    is_as_held = line.bits == 16 and x.e == frame.half
    if line.bits == 8:
        sketch.spike(2 * FULL * numbers)  # times the scales, then times a constant
    own = constant(numbers, e) if is_as_held else sketch.new(numbers, x.e)
    sketch.spike(2 * x.e * numbers)
    magnitude = parameter(line.outputs, frame.accumulates)
    low = _low_rank(sketch, frame, line, x, key)
    if dropped:
        # The matrix once more: unpacked, or cast to what x is and back.
        weight = constant(numbers, e)
        if frame.autocast or line.bits != 16:
            weight = sketch.new(numbers, e)
        base = product(sketch, tokens, to(sketch, x, e), weight, line.inputs, line.outputs)
        del weight
    else:
        base = made
    total = add(sketch, made, _weighed(sketch, magnitude, base, low))
    del delta, own
    return to(sketch, total, made.e) if line.bits == 16 else total


def _weighed(sketch: Sketch, magnitude: Tensor, base: Tensor, low: Tensor) -> Tensor:
    first = by_column(sketch, base, magnitude)
    second = by_column(sketch, low, magnitude)
    second = scaled(sketch, second)
    return add(sketch, first, second)


def by_column(sketch: Sketch, x: Tensor, column: Tensor) -> Tensor:
    """Times a vector that trains or not, in the wider dtype."""
    saved = _for_each_other(x, column)
    sketch.saving(saved)
    made = sketch.new(x.numbers, max(x.e, column.e))
    numbers, e, size = x.numbers, made.e, column.numbers
    wants_x, wants_column = x.node is not None, column.node is not None

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        gx = s.new(numbers, e) if wants_x else None
        gc = s.new(numbers, e) if wants_column else None
        if gc is not None:
            gc = s.new(size, FULL)  # summed over all tokens
        return gx, gc

    made.node = sketch.node((x, column), saved, back)
    return made
