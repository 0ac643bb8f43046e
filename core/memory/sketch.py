"""A sketch of torch: tensors that are sizes, operations that remember what the real ones keep.

What a block of a model costs follows from which tensors live at the same time. That is decided by the
order of its operations, by what autograd saves for each, and by when Python drops the last name of a
tensor. Here the same happens with sizes in place of numbers, in a few hundred microseconds: a sketched
tensor counts as long as Python keeps it.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any


class Sketch:
    """Bytes live now and at most, and the operations done so far. `e` is bytes an element.

    casts: weights that autocast has cast. gradients: those of parameters. kept: what a layer holds on
    to itself, past any checkpoint. saves: whether operations save; not so in the forward pass of a
    checkpointed block.
    """

    __slots__ = ("casts", "gradients", "kept", "live", "nodes", "peak", "saves", "stop_after")

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.nodes: list[Node] = []
        self.casts: dict[str, Tensor] = {}
        self.saves = True
        self.stop_after = -1
        self.kept: list[Any] = []
        self.gradients: list[Tensor] = []

    def new(self, numbers: int, e: int) -> "Tensor":
        return Tensor(_Storage(self, numbers * e), numbers, e, None)

    def spike(self, size: int) -> None:
        """Bytes taken and given back within one operation."""
        if self.live + size > self.peak:
            self.peak = self.live + size

    def saving(self, saved: tuple[Any, ...]) -> None:
        """Said by what saves only its inputs, which torch does before it allocates the result."""
        if saved and self.stop_after == 0:
            self.nodes.append(Node([], [], saved, True, _no_gradient))
            raise Recomputed

    def node(
        self, inputs: Sequence["Tensor"], saved: tuple[Any, ...], back: "Backward"
    ) -> "Node | None":
        """What autograd notes of an operation; None when nothing that went in needs a gradient."""
        sources = [one.node for one in inputs]
        if not any(sources):
            return None
        widths = [one.e for one in inputs]
        made = Node(sources, widths, saved if self.saves else (), bool(saved), back)
        self.nodes.append(made)
        if saved and self.stop_after >= 0:
            self.stop_after -= 1
            if self.stop_after < 0:
                raise Recomputed
        return made


def _no_gradient(_: Sketch, __: tuple[Any, ...], ___: "Tensor") -> "Sequence[Tensor | None]":
    return ()


class Recomputed(Exception):
    """The last tensor that the backward pass asked for has been made again."""


class _Storage:
    __slots__ = ("size", "sketch")

    def __init__(self, sketch: Sketch, size: int) -> None:
        self.sketch = sketch
        self.size = size
        sketch.live = live = sketch.live + size
        if live > sketch.peak:
            sketch.peak = live

    def __del__(self) -> None:
        self.sketch.live -= self.size


class Tensor:
    """numbers × e bytes over a storage that views share. node: how its gradient is computed, if it is."""

    __slots__ = ("e", "node", "numbers", "storage")

    def __init__(self, storage: Any, numbers: int, e: int, node: Any) -> None:
        self.storage = storage
        self.numbers = numbers
        self.e = e
        self.node = node


Backward = Callable[[Sketch, tuple[Any, ...], Tensor], Sequence["Tensor | None"]]


class Node:
    """One operation in the graph. needs: whether it saved something, held here or made again.

    widths: bytes a number has in what went in, and so in its gradient.
    """

    __slots__ = ("back", "grad", "needs", "saved", "sources", "widths")

    def __init__(
        self,
        sources: list[Any],
        widths: list[int],
        saved: tuple[Any, ...],
        needs: bool,
        back: Backward,
    ) -> None:
        self.sources = sources
        self.widths = widths
        self.saved = saved
        self.needs = needs
        self.back = back
        self.grad: Tensor | None = None


class Leaf:
    """A parameter, whose gradient stays. had: there is one of an earlier micro-batch already."""

    __slots__ = ("had",)

    def __init__(self, had: bool) -> None:
        self.had = had


class Source:
    """Where what is sketched begins: the gradient is somebody else's to go on with."""

    __slots__ = ("grad",)

    def __init__(self) -> None:
        self.grad: Tensor | None = None


def backward(
    sketch: Sketch, root: Any, grad: Tensor, again: Callable[[], list[Node]] | None = None
) -> None:
    """Compute gradients from `root` down, as the engine does: latest operation first.

    again: makes the nodes once more with what they save, for a checkpointed block; called when the
    first of them needs it.
    """
    root.grad = grad
    del grad
    nodes = sketch.nodes
    while nodes:
        node = nodes.pop()
        arrived = node.grad
        if arrived is None:
            continue
        node.grad = None
        if node.needs and again is not None:
            remade = again()
            again = None
            # The node at hand is no longer in the list.
            mine = [one for one in [*nodes, node] if one.needs]
            theirs = [one.saved for one in remade if one.needs]
            for one, saved in zip(mine, theirs, strict=True):
                one.saved = saved
            del remade, mine, theirs, one, saved
        grads = node.back(sketch, node.saved, arrived)
        for found, e in zip(grads, node.widths, strict=True):
            if found is not None and found.e != e:
                grads = [
                    one if one is None or one.e == e else sketch.new(one.numbers, e)
                    for one, e in zip(grads, node.widths, strict=True)
                ]
                break
        arrived = None
        node.saved = ()
        for target, found in zip(node.sources, grads, strict=True):
            if target is not None and found is not None:
                _arrive(sketch, target, found)
        grads = ()
        found = None


def _arrive(sketch: Sketch, target: Any, grad: Tensor) -> None:
    """Into the buffer: summed in place where the buffer's is nobody else's."""
    if type(target) is Leaf:
        if not target.had:
            sketch.gradients.append(grad)
            target.had = True
        return  # or added to what is there
    held = target.grad
    if held is None:
        target.grad = grad
        return
    # Held by the node, by `held` here, and by the call that asks.
    if sys.getrefcount(held.storage) == 2 and sys.getrefcount(held) == 3:
        return
    target.grad = sketch.new(held.numbers, max(held.e, grad.e))
