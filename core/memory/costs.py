"""What parts of a model cost in a step, each sketched once and remembered: blocks, ends, the loss."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from finetune_tui.core.memory.sketch import Leaf, Node, Recomputed, Sketch, Source, Tensor, backward
from finetune_tui.core.memory.sketch_attention import NORMS
from finetune_tui.core.memory.sketch_blocks import Kind, Shape, block
from finetune_tui.core.memory.sketch_layers import (
    FULL,
    Frame,
    Grads,
    Line,
    add,
    by_column,
    copied,
    dropout,
    linear,
    parameter,
    pointwise,
    product,
    scaled,
    to,
    weight_in,
    with_tokens,
)

# As in core.training.loss: how many tokens' logits are made at once.
CHUNK_BYTES, FEWEST, MOST = 2**27, 128, 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes of one part, its input not counted before it runs.

    kept: for the backward pass. casts: weights cast by autocast, kept until the forward pass ends.
    held: of `kept`, what stays to the end of the backward pass. let_go: its input, where it keeps that not.
    forward, backward: the most while each runs, all of its own included. gradients: of parameters. out:
    bytes of a number in its output.
    """

    kept: int
    casts: int
    held: int
    let_go: int
    forward: int
    backward: int
    gradients: int
    out: int


@lru_cache(maxsize=512)
def block_cost(
    frame: Frame, shape: Shape, kind: Kind, checkpointed: bool, e: int, has_gradient: bool
) -> Cost:
    """One block whose input has `e` bytes a number and needs a gradient or not."""
    sketch = Sketch()
    source = Source() if has_gradient else None
    entered = [_with_node(sketch.new(frame.tokens * shape.hidden, e), source)]
    if checkpointed:
        sketch.saves = False
        left = block(sketch, frame, shape, kind, entered[0])
    else:
        left = block(sketch, frame, shape, kind, entered[0])
    forward, before = sketch.peak, sketch.live
    if not checkpointed or left.node is None:
        entered.clear()
    let_go = before - sketch.live
    size = left.numbers * left.e
    casts = sketch.live - size
    sketch.casts.clear()
    kept = sketch.live - size
    casts -= kept
    if left.node is None:
        return Cost(0, casts, 0, let_go, forward, 0, 0, left.e)
    out, numbers, node = left.e, left.numbers, left.node
    del left
    held = sum(storage.size for storage in {id(one): one for one in sketch.kept}.values())

    def again() -> list[Node]:
        inside = Tensor(entered[0].storage, entered[0].numbers, e, source and Source())
        return _made_again(sketch, lambda: block(sketch, frame, shape, kind, inside))

    sketch.peak = sketch.live
    backward(sketch, node, sketch.new(numbers, out), again if checkpointed else None)
    most = sketch.peak
    gradients = sum(grad.storage.size for grad in sketch.gradients)
    return Cost(kept, casts, held, let_go, forward, most, gradients, out)


def _made_again(sketch: Sketch, forward: Callable[[], Tensor]) -> list[Node]:
    """The nodes of a checkpointed block once more, up to the last that saves: there checkpointing stops."""
    before, sketch.nodes = sketch.nodes, []
    held, sketch.kept = sketch.kept, []
    sketch.saves = True
    sketch.stop_after = sum(node.needs for node in before)  # the one at hand is out of the list
    with suppress(Recomputed):
        forward()
    sketch.stop_after = -1
    sketch.casts.clear()
    sketch.kept = held
    made, sketch.nodes = sketch.nodes, before
    return made


@dataclass(frozen=True, slots=True)
class Ends:
    """What lies after the blocks. norm: "rms", "gemma" or "layer". cap: the logits are capped.

    shares: the head's matrix trains and is the embedding's, whose turn its gradient waits for.
    """

    hidden: int
    vocabulary: int
    norm: str
    norm_trains: bool
    head: Line
    cap: bool
    shares: bool


@lru_cache(maxsize=256)
def loss_cost(frame: Frame, ends: Ends, chunked: bool, e: int, has_gradient: bool) -> Cost:
    """From the last block's output through norm, head and loss, and back."""
    sketch = Sketch()
    if ends.shares:
        frame = replace(frame, accumulates=False)
    source = Source() if has_gradient else None
    x = _with_node(sketch.new(frame.tokens * ends.hidden, e), source)
    hidden = NORMS[ends.norm](sketch, x, ends.norm_trains, ends.hidden, frame)
    del x
    indices = sketch.new(3 * frame.tokens, 8)
    if chunked:
        loss = _in_chunks(sketch, frame, ends, _selected(sketch, hidden))
    else:
        loss = _cross_entropy(sketch, frame, ends, hidden, returned=True)
    forward = sketch.peak
    root = loss.node
    del hidden, loss
    sketch.casts.clear()
    kept = sketch.peak = sketch.live
    if root is not None:
        backward(sketch, root, sketch.new(1, FULL))
    del indices
    gradients = sum(grad.storage.size for grad in sketch.gradients)
    return Cost(kept, 0, 0, 0, forward, sketch.peak, gradients, e)


def _selected(sketch: Sketch, hidden: Tensor) -> Tensor:
    """The tokens that train, copied; their gradient is added into zeros."""
    states = sketch.new(hidden.numbers, hidden.e)
    numbers, e = hidden.numbers, hidden.e
    states.node = sketch.node((hidden,), (), lambda s, _, g: (s.new(numbers, e),))
    return states


def _in_chunks(sketch: Sketch, frame: Frame, ends: Ends, states: Tensor) -> Tensor:
    """The head and the loss of some tokens at a time, each made again for its gradient."""
    chunk = chunk_size(frame.tokens, ends.vocabulary)
    part = replace(frame, rows=1, length=chunk)
    if chunk == frame.tokens:
        return _cross_entropy(sketch, part, ends, states)
    numbers, e, wants = chunk * ends.hidden, states.e, states.node is not None
    nodes, sketch.nodes, sketch.saves = sketch.nodes, [], False
    _cross_entropy(sketch, part, ends, Tensor(states.storage, numbers, e, states.node))
    sketch.nodes, sketch.saves = nodes, True

    def back(s: Sketch, saved: tuple[Any, ...], _: Tensor) -> Grads:
        # The chunk that comes last: the gradients of all others are there.
        others = s.new((frame.tokens - chunk) * ends.hidden, e) if wants else None
        summed = s.new(_head_numbers(ends.head), frame.half if frame.autocast else FULL)
        nodes, s.nodes = s.nodes, []
        if not ends.head.bits and frame.autocast:
            # Cast again for each chunk; the gradients of all come together at one cast.
            s.casts["head"] = _with_node(s.new(summed.numbers, summed.e), Leaf(True))
        source = Source() if wants else None
        again = replace(part, accumulates=True)
        loss = _cross_entropy(s, again, ends, Tensor(saved[0], numbers, e, source))
        root = loss.node
        if root is not None:
            backward(s, root, loss)
        s.nodes = nodes
        s.casts.clear()
        del loss, root, source
        s.spike(2 * summed.numbers * summed.e)  # this chunk's, and the sum: a product is a view
        whole = s.new(frame.tokens * ends.hidden, e) if wants else None
        del others
        if summed.e != FULL:
            summed = s.new(summed.numbers, FULL)
        if not frame.accumulates:
            s.gradients.append(summed)
        return whole, None

    made = sketch.new(1, FULL)
    head = parameter(0, True)
    if not _head_numbers(ends.head):
        head.node = None
    made.node = sketch.node((states, head), (states.storage,), back)
    return made


def _cross_entropy(
    sketch: Sketch, frame: Frame, ends: Ends, states: Tensor, returned: bool = False
) -> Tensor:
    """returned: the logits are the model's result, which Accelerate makes float32."""
    logits = linear(sketch, frame, ends.head, states, "head")
    if ends.cap:
        logits = scaled(sketch, pointwise(sketch, scaled(sketch, logits), "result"))
    wide = to(sketch, logits, FULL)
    if not returned:
        del logits
    probabilities = sketch.new(wide.numbers, FULL)
    numbers = wide.numbers
    node = sketch.node((wide,), (probabilities.storage,), _of_cross_entropy(numbers))
    del wide
    if returned and frame.autocast:
        sketch.spike(numbers * FULL)
    made = sketch.new(1, FULL)
    made.node = node
    return made


def _of_cross_entropy(numbers: int) -> Any:
    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        first = s.new(numbers, FULL)
        made = s.new(numbers, FULL)
        del first
        return (made,)

    return back


def _head_numbers(head: Line) -> int:
    whole = head.rank * (head.inputs + head.outputs) + head.tokens * head.inputs
    return whole + (0 if head.bits else head.inputs * head.outputs)


def chunk_size(tokens: int, vocabulary: int) -> int:
    """As the chunked loss splits a batch."""
    return min(tokens, max(CHUNK_BYTES // (4 * vocabulary), FEWEST), MOST)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What lies before the blocks. table: the embedding; inputs is the vocabulary.

    scales: times a number, as Gemma's. noise: NEFTune's is added. drops: some of it is dropped.
    """

    table: Line
    scales: bool
    noise: bool
    drops: bool


@lru_cache(maxsize=256)
def embedding_cost(frame: Frame, beginning: Beginning, has_gradients: bool) -> Cost:
    """Tokens to vectors. has_gradients: the matrix is the head's too, whose gradient is there already."""
    sketch, table = Sketch(), beginning.table
    numbers = frame.tokens * table.outputs
    if table.tokens:
        weight = with_tokens(sketch, frame, table)
        x = _looked_up(sketch, weight, numbers)
        del weight
    elif not table.bits:
        weight = parameter(table.inputs * table.outputs, frame.accumulates or has_gradients)
        x = _looked_up(sketch, weight, numbers, sums=has_gradients and not frame.autocast)
    else:
        x = sketch.new(numbers, frame.half)
        if table.rank:
            x = _with_low_rank(sketch, frame, table, x)
    if beginning.scales:
        x = scaled(sketch, x)
    if beginning.noise:
        noise = sketch.new(numbers, x.e)
        x = copied(sketch, x)
        del noise
    if beginning.drops:
        x = dropout(sketch, x)
    forward, size, out, node = sketch.peak, x.numbers * x.e, x.e, x.node
    del x
    casts = sketch.live
    sketch.casts.clear()
    kept = sketch.peak = sketch.live
    if node is None:
        return Cost(kept, casts - kept, 0, 0, forward, 0, 0, out)
    backward(sketch, node, sketch.new(size // out, out))
    gradients = sum(grad.storage.size for grad in sketch.gradients)
    return Cost(kept, casts - kept, 0, 0, forward, sketch.peak, gradients, out)


def _looked_up(sketch: Sketch, weight: Tensor, numbers: int, sums: bool = False) -> Tensor:
    """sums: its gradient is added to another in a third, because the other is a view."""
    made = sketch.new(numbers, weight.e)
    size, e = weight.numbers, weight.e

    def back(s: Sketch, _: Any, g: Tensor) -> Grads:
        found = s.new(size, e)
        if sums:
            s.spike(size * e)
        return (found,)

    made.node = sketch.node((weight,), (), back)
    return made


def _with_low_rank(sketch: Sketch, frame: Frame, table: Line, x: Tensor) -> Tensor:
    """PEFT's LoRA of an embedding: rows of A, times B."""
    rows = _looked_up(
        sketch,
        parameter(table.inputs * table.rank, frame.accumulates),
        frame.tokens * table.rank,
    )
    e = frame.half if frame.autocast else FULL
    if (
        frame.dora
    ):  # the adapters' matrix, scaled, and added to the layer's, for the norm of each row
        sketch.spike(3 * e * table.inputs * table.outputs)
    rows = to(sketch, rows, e)
    weight = parameter(table.rank * table.outputs, frame.accumulates)
    weight = weight_in(sketch, weight, e, "embedding")
    low = product(sketch, frame.tokens, rows, weight, table.rank, table.outputs)
    if not frame.dora:
        return add(sketch, x, scaled(sketch, low))
    magnitude = parameter(table.outputs, frame.accumulates)
    low = scaled(sketch, by_column(sketch, low, magnitude))
    return to(sketch, add(sketch, by_column(sketch, x, magnitude), low), x.e)


def _with_node(x: Tensor, node: Any) -> Tensor:
    x.node = node
    return x
