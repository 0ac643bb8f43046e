"""The ledger: every storage that lives during a step, whoever made it, noted as it comes and goes.

Starred: imports torch. A dispatch mode sees each operation's results; a weak reference on the storage
tells when the last tensor over it is gone. It works on any device; on `meta` no memory is used.
"""

import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from finetune_tui.core.memory.simulation.recall import Recall
from finetune_tui.core.memory.trace import Part, Phase, Trace

_ADD = torch.ops.aten.add.Tensor
_BEAT = 500  # operations, some ten milliseconds


class Ledger(TorchDispatchMode):
    """While entered, notes into `trace` what every operation allocates, in `phase` and by module.

    blocks_at: the name of the list of blocks, which tells loss and first and last block apart.
    vocabulary: results with so many columns are logits.
    workspaces: (operation, arguments, result) → bytes that a GPU kernel takes for the time it runs.
    beat: called now and then with words that begin with `doing`; what it raises ends the step.
    sums_in_place: gradients are summed as autograd does it, not as it does it while someone looks on.
    """

    def __init__(
        self,
        device: str = "meta",
        vocabulary: int = 0,
        blocks_at: str = "",
        blocks: int = 0,
        workspaces: Callable[[Any, Any, Any], Iterable[int]] | None = None,
        beat: Callable[[str], None] | None = None,
        sums_in_place: bool = True,
    ) -> None:
        super().__init__()
        self.trace = Trace()
        self.phase = Phase.LOADING
        self.recomputing = 0
        self.doing = ""
        self._device = device
        self._vocabulary = vocabulary
        self._blocks_at = f"{blocks_at}."
        self._blocks = blocks
        self._workspaces = workspaces
        self._beat = beat
        self._operations = 0
        self._run = Recall().run if device == "meta" else _run
        self._sole = _sole_references() if sums_in_place else (0, 0)
        self._live: dict[int, tuple[int, Any]] = {}  # storage → its number and the weak reference
        self._modules: list[str] = []
        # Of the forward pass, which module ran from which autograd sequence number on.
        self._from: list[int] = []
        self._names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._operations += 1
        where = self._where()
        if self._beat is not None and self._operations % _BEAT == 0:
            self._beat(self._words(where))
        if func is _ADD and self._sums_in_place(args):
            return args[0].add_(args[1])
        result = self._run(func, args, kwargs or {})
        operation = (where, func._schema.name.removeprefix("aten::"))
        if isinstance(result, torch.Tensor):
            self._see(result, operation)
        elif isinstance(result, tuple | list):
            for one in result:
                if isinstance(one, torch.Tensor):
                    self._see(one, operation)
        if self._workspaces is not None:
            for size in self._workspaces(func, args, result):
                number = self.trace.add(size, Part.WORKSPACE, operation, self.phase)
                self.trace.release(number, self.phase)
        return result

    def hold(self, size: int, part: Part, what: str) -> None:
        """Bytes that stay from now on and belong to no tensor."""
        self.trace.add(size, part, ("", what), self.phase)

    def note(self, tensors: Iterable[torch.Tensor], part: Part) -> None:
        """These are `part`, whether seen before or not."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            found = self._live.get(storage._cdata)
            if found is None:
                self._take(storage, part, ("", "kept"))
            else:
                self.trace.parts[found[0]] = part

    def note_model(self, model: nn.Module) -> None:
        """Weights and what trains, with what quantisation keeps beside a weight."""
        for parameter in model.parameters():
            self.note([parameter], Part.ADAPTERS if parameter.requires_grad else Part.WEIGHTS)
            self.note(_beside(parameter), Part.WEIGHTS)
        self.note(model.buffers(), Part.WEIGHTS)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Follow which module runs, so that an allocation can say where it was made."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(partial(self._enter, name)))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str, *_: Any) -> None:
        self._modules.append(name)
        self._mark(name)

    def _leave(self, *_: Any) -> None:
        left = self._modules.pop()
        self._mark(self._modules[-1] if self._modules else "")
        is_last = left.endswith(f"{self._blocks_at}{self._blocks - 1}")
        if is_last and self.phase is Phase.FORWARD:
            self.phase = Phase.LOSS
        elif not self._modules and self.phase is Phase.LOSS:
            self.phase = Phase.LOSS_BACKWARD

    def _mark(self, name: str) -> None:
        self._from.append(torch._C._autograd._get_sequence_nr())
        self._names.append(name)

    def _where(self) -> str:
        """The module whose operation this is: the one running forward, or whose gradient is computed."""
        if self._modules:
            name = self._modules[-1]
        else:
            node: Any = torch._C._current_autograd_node()
            if node is None:
                return ""
            at = bisect_right(self._from, node._sequence_nr()) - 1
            name = self._names[at] if at >= 0 else ""
            self._follow(name)
        return name

    def _words(self, where: str) -> str:
        """How far it is: 'step 1 of 2, backward, block 12 of 32'."""
        words = [self.doing, self.phase.value.partition(" ")[0]]
        block = self._block(where)
        if block is not None:
            words.append(f"block {block + 1} of {self._blocks}")
        return ", ".join(filter(None, words))

    def _follow(self, name: str) -> None:
        """The phase of the backward pass."""
        block = self._block(name)
        if block is None or self.phase in (Phase.FORWARD, Phase.OPTIMIZER):
            return
        if block == self._blocks - 1:
            self.phase = Phase.LAST_BLOCK
        else:
            self.phase = Phase.BACKWARD if block else Phase.FIRST_BLOCK

    def _block(self, name: str) -> int | None:
        _, found, rest = name.rpartition(self._blocks_at)
        number = rest.partition(".")[0]
        return int(number) if found and number.isdecimal() else None

    def _sums_in_place(self, args: Any) -> bool:
        """Whether autograd sums two gradients here, and the first is its own to write to.

        It then adds in place, but never under a dispatch mode: without this the sum would be a third.
        """
        if self._modules or self.recomputing or torch.is_grad_enabled():
            return False
        if torch._C._current_autograd_node() is None:
            return False
        first, second = args
        return (
            first.shape == second.shape
            and first.dtype == second.dtype
            and _references(first) <= self._sole
            and torch.ops.aten.is_non_overlapping_and_dense(first)
        )

    def _see(self, tensor: torch.Tensor, operation: tuple[str, str]) -> None:
        if tensor.device.type != self._device:
            return
        storage = tensor.untyped_storage()
        if storage._cdata not in self._live:
            is_logits = tensor.dim() > 0 and tensor.shape[-1] == self._vocabulary
            self._take(storage, Part.LOGITS if is_logits else Part.ACTIVATIONS, operation)

    def _take(self, storage: Any, part: Part, operation: tuple[str, str]) -> None:
        number = self.trace.add(storage.nbytes(), part, operation, self.phase)
        key = storage._cdata
        self._live[key] = (number, weakref.ref(storage, partial(self._gone, key, number)))

    def _gone(self, key: int, number: int, _: Any) -> None:
        del self._live[key]
        self.trace.release(number, self.phase)


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


def _references(tensor: Any) -> tuple[int, int]:
    storage = torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)
    return int(tensor._use_count()), int(storage)


@cache
def _sole_references() -> tuple[int, int]:
    """How many references a gradient has that nobody else holds, as seen from within a dispatch mode."""
    seen: list[tuple[int, int]] = []

    class Look(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is _ADD:
                seen.append(_references(args[0]))
            return func(*args, **(kwargs or {}))

    with torch.device("meta"):
        shared = torch.ones(4, 4, requires_grad=True) * 2
        total = shared.mm(torch.ones(4, 4)).sum() + shared.mm(torch.ones(4, 4)).sum()
    with Look():
        total.backward()
    return seen[0]


def _beside(parameter: Any) -> Iterator[torch.Tensor]:
    """What bitsandbytes keeps beside a quantised weight: scales, code tables, an offset."""
    state = getattr(parameter, "quant_state", None)
    if state is not None:
        yield from (state.absmax, state.code)
        if state.nested:
            yield from (state.state2.absmax, state.state2.code, state.offset)
    scales = getattr(parameter, "SCB", None)
    if scales is not None:
        yield scales
