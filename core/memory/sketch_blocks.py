"""Whole blocks in a sketch, by the structure of the model.

Local names are dropped where the modeling files drop theirs: what Python still names is still there.
"""

from dataclasses import dataclass
from typing import Any

from finetune_tui.core.memory.sketch import Sketch, Tensor
from finetune_tui.core.memory.sketch_attention import (
    NORMS,
    eager_attention,
    fused_attention,
    masked_attention,
    plain_attention,
    rope,
)
from finetune_tui.core.memory.sketch_layers import (
    FULL,
    Frame,
    Grads,
    Line,
    add,
    copied,
    dropout,
    linear,
    multiply,
    pointwise,
    scaled,
    to,
)
from finetune_tui.core.models.roles import Role


@dataclass(frozen=True, slots=True)
class Shape:
    """A block's facts. family: whose modeling file it follows. norm: "rms", "gemma" or "layer".

    heads: of queries, of keys, and numbers a head has. rotary: the share of a head that turns.
    head_norms: query and key are normalised. masked: attention is given a mask, because rows are packed
    or reach further than its window. experts: how many each token takes; 0: one plain MLP. dropout: some
    of what attention and MLP add is dropped.
    """

    family: str
    norm: str
    hidden: int
    heads: tuple[int, int, int]
    intermediate: int
    rotary: float
    gelu_in_steps: bool
    head_norms: bool
    masked: bool
    experts: int = 0
    dropout: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """How a block trains: the layer of each role, and the leaf names of norms that train."""

    lines: tuple[tuple[Role, Line], ...]
    norms: frozenset[str]

    @property
    def trains(self) -> bool:
        lines = (line for _, line in self.lines)
        return bool(self.norms) or any(line.rank or line.bias or not line.bits for line in lines)


def block(sketch: Sketch, frame: Frame, shape: Shape, kind: Kind, x: Tensor) -> Tensor:
    """The block's output of its input."""
    work = _Block(sketch, frame, shape, kind)
    match shape.family:
        case "phi":
            return work.parallel(x)
        case "gemma2" | "gemma3_text":
            return work.gemma(x)
        case _:
            return work.llama(x)


class _Block:
    """One block at work. held: what a modeling file names longer than it needs."""

    def __init__(self, sketch: Sketch, frame: Frame, shape: Shape, kind: Kind) -> None:
        self._sketch = sketch
        self._frame = frame
        self._shape = shape
        self._lines = dict(kind.lines)
        self._norms = kind.norms
        self._held: Tensor | None = None

    def llama(self, x: Tensor) -> Tensor:
        residual = x
        x = self._norm(x, "input_layernorm")
        x = self._dropped(self._attention(x))
        x = add(self._sketch, residual, x)
        residual = x
        x = self._norm(x, "post_attention_layernorm")
        x = self._dropped(self._mlp(x))
        return add(self._sketch, residual, x)

    def gemma(self, x: Tensor) -> Tensor:
        """Norms before and after attention and MLP."""
        residual = x
        x = self._norm(x, "input_layernorm")
        x = self._attention(x)
        x = self._norm(x, "post_attention_layernorm")
        x = add(self._sketch, residual, x)
        residual = x
        x = self._norm(x, "pre_feedforward_layernorm")
        x = self._mlp(x)
        x = self._norm(x, "post_feedforward_layernorm")
        return add(self._sketch, residual, x)

    def parallel(self, x: Tensor) -> Tensor:
        """Phi: attention and MLP side by side behind one norm."""
        residual = x
        x = self._norm(x, "input_layernorm")
        attended = self._dropped(self._attention(x))
        fed = self._line(Role.MLP_IN, x)
        fed = self._gelu(fed)
        fed = self._dropped(self._line(Role.MLP_OUT, fed))
        return add(self._sketch, add(self._sketch, attended, fed), residual)

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(self._sketch, x) if self._shape.dropout else x

    def _norm(self, x: Tensor, name: str, width: int = 0) -> Tensor:
        width = width or self._shape.hidden
        return NORMS[self._shape.norm](self._sketch, x, name in self._norms, width, self._frame)

    def _line(self, role: Role, x: Tensor) -> Tensor:
        return linear(self._sketch, self._frame, self._lines[role], x, role)

    def _attention(self, x: Tensor) -> Tensor:
        return self._line(Role.ATTENTION_OUTPUT, self._attended(x))

    def _attended(self, x: Tensor) -> Tensor:
        sketch, frame, shape = self._sketch, self._frame, self._shape
        if Role.QKV in self._lines:
            q, k, v = self._split(self._line(Role.QKV, x))
        else:
            q = self._line(Role.QUERY, x)
            if shape.head_norms:
                q = self._norm(q, "q_norm", shape.heads[2])
            k = self._line(Role.KEY, x)
            if shape.head_norms:
                k = self._norm(k, "k_norm", shape.heads[2])
            v = self._line(Role.VALUE, x)
        joins = shape.family in ("phi", "phi3")
        turned_q = rope(sketch, q, shape.rotary, frame.stream, joins)
        q = turned_q
        del turned_q
        turned_k = rope(sketch, k, shape.rotary, frame.stream, joins)
        k = turned_k
        del turned_k
        if shape.family == "gemma2":
            made, self._held = eager_attention(sketch, frame, shape.heads, q, k, v)
            return made
        attention = fused_attention
        if shape.masked:
            attention = masked_attention
        elif q.e == FULL and not frame.autocast and shape.heads[0] != shape.heads[1]:
            attention = plain_attention
        made = attention(sketch, frame, shape.heads, q, k, v)
        # Queries that were put together anew lie in another order, and so does what the kernel returns.
        anew = joins and attention is fused_attention and made.e < FULL
        return copied(sketch, made) if anew else made

    def _split(self, whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as parts of one result: each part's gradient is as large as it."""
        heads, keys, dim = self._shape.heads
        return (
            self._part(whole, self._frame.tokens * heads * dim),
            self._part(whole, self._frame.tokens * keys * dim),
            self._part(whole, self._frame.tokens * keys * dim),
        )

    def _part(self, whole: Tensor, numbers: int) -> Tensor:
        size, e = whole.numbers, whole.e
        node = self._sketch.node((whole,), (), lambda s, _, g: (s.new(size, e),))
        return Tensor(whole.storage, numbers, e, node)

    def _mlp(self, x: Tensor) -> Tensor:
        if self._shape.experts:
            return self._experts(x)
        sketch = self._sketch
        if Role.GATE_IN in self._lines:
            both = self._line(Role.GATE_IN, x)
            gate, up = (self._part(both, both.numbers // 2) for _ in range(2))
            up = multiply(sketch, up, pointwise(sketch, gate, "input"))
            return self._line(Role.MLP_OUT, up)
        if Role.MLP_GATE not in self._lines:
            return self._line(Role.MLP_OUT, self._gelu(self._line(Role.MLP_IN, x)))
        gate = pointwise(sketch, self._line(Role.MLP_GATE, x), "input")
        product = multiply(sketch, gate, self._line(Role.MLP_IN, x))
        del gate
        return self._line(Role.MLP_OUT, product)

    def _gelu(self, x: Tensor) -> Tensor:
        """Fused, or as "gelu_new" writes it out; autocast takes its cube in float32."""
        sketch = self._sketch
        if not self._shape.gelu_in_steps:
            return pointwise(sketch, x, "input")
        half = scaled(sketch, x)
        wide = to(sketch, x, FULL) if self._frame.autocast else x
        cube = self._cube(wide)
        del wide
        cube = scaled(sketch, cube)
        cube = add(sketch, x, cube)
        cube = scaled(sketch, cube)
        cube = pointwise(sketch, cube, "result")
        cube = scaled(sketch, cube)
        return multiply(sketch, half, cube)

    def _cube(self, x: Tensor) -> Tensor:
        made = self._sketch.new(x.numbers, x.e)
        numbers, e = x.numbers, x.e

        def back(s: Sketch, _: Any, g: Tensor) -> Grads:
            square = s.new(numbers, e)
            thrice = s.new(numbers, e)
            found = s.new(numbers, e)
            del square, thrice
            return (found,)

        made.node = self._sketch.node((x,), (x.storage,), back)
        return made

    def _experts(self, x: Tensor) -> Tensor:
        """Each token goes through some experts, whose rows are gathered, multiplied in groups, summed."""
        sketch, frame, shape = self._sketch, self._frame, self._shape
        rows = frame.tokens * shape.experts
        scores = scaled(sketch, to(sketch, self._line(Role.ROUTER, x), FULL))
        scores = pointwise(sketch, scores, "result")
        chosen = self._gathered(x, rows * shape.hidden)
        narrow = to(sketch, chosen, frame.half)
        both = self._grouped(narrow, rows * 2 * shape.intermediate)
        del narrow
        gate, up = (self._part(both, both.numbers // 2) for _ in range(2))
        del both
        product = multiply(sketch, pointwise(sketch, gate, "input"), up)
        del gate, up
        out = self._grouped(product, rows * shape.hidden)
        del product
        weighed = self._weighed(out)
        weighed = scaled(sketch, weighed)  # back in the order of tokens
        return to(sketch, self._summed(weighed, frame.tokens * shape.hidden), x.e)

    def _weighed(self, x: Tensor) -> Tensor:
        """Times each expert's score, a number for a row, which needs a gradient too."""
        made = self._sketch.new(x.numbers, x.e)
        numbers, e = x.numbers, x.e

        def back(s: Sketch, _: Any, g: Tensor) -> Grads:
            found = s.new(numbers, e)
            s.spike(numbers * e)
            return (found,)

        made.node = self._sketch.node((x,), (x.storage,), back)
        return made

    def _summed(self, x: Tensor, numbers: int) -> Tensor:
        """Over the experts of a token, in float32 under autocast; the gradient is looked at again."""
        made = self._sketch.new(numbers, FULL if self._frame.autocast else x.e)
        before, e = x.numbers, made.e
        made.node = self._sketch.node(
            (x,), (), lambda s, _, g: (Tensor(g.storage, before, e, None),)
        )
        return made

    def _gathered(self, x: Tensor, numbers: int) -> Tensor:
        made = self._sketch.new(numbers, x.e)
        before, e = x.numbers, x.e
        made.node = self._sketch.node((x,), (), lambda s, _, g: (s.new(before, e),))
        return made

    def _grouped(self, x: Tensor, numbers: int) -> Tensor:
        made = self._sketch.new(numbers, x.e)
        before, e = x.numbers, x.e
        made.node = self._sketch.node((x,), (None,), lambda s, _, g: (s.new(before, e),))
        return made
