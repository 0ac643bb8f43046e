"""Room for answers: what a trained model and its base take in one, and whether that much is free."""

from dataclasses import dataclass

from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.estimate import CUDA_CONTEXT, MIB, WORKER_ON_CPU
from finetune_tui.core.memory.free import Free
from finetune_tui.core.memory.weights import Precision, precision_of, weight_bytes
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.text import size
from finetune_tui.core.tuning.counting import trained_numbers
from finetune_tui.core.tuning.refusals import DIRECTED
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

_SLACK = 64 * MIB  # of an allocator, beside a share of all


@dataclass(frozen=True, slots=True)
class Room:
    """needed: bytes, about. free: where the answers would be given."""

    needed: int
    free: Free
    on_gpu: bool

    @property
    def fits(self) -> bool | None:
        """None: nobody can say what is free."""
        return None if self.free.bytes is None else self.needed <= self.free.bytes

    @property
    def words(self) -> str:
        """`about 15.2G is needed and 3.1G of 24.0G is free on GPU0 NVIDIA A10: pid 71 holds 20.1G`."""
        words = f"about {size(self.needed)} is needed"
        if self.free.bytes is None:
            return words
        whole = f" of {size(self.free.total)}" if self.free.total else ""
        words += f" and {size(self.free.bytes)}{whole} is free on {self.free.place}"
        return f"{words}: {self.free.holders}" if self.free.holders else words

    def require(self) -> None:
        """Raises UserError, with the ways out, when it does not fit."""
        if self.fits is False:
            ways = "wait until it is free (the queue does), or answer on the CPU with use_cpu: true"
            raise UserError(
                f"no room for answers: {self.words}",
                where="gpus" if self.on_gpu else "use_cpu",
                hint=ways if self.on_gpu else "free memory first, or take a machine with more",
            )


def room_for_answers(
    manifest: Manifest,
    selection: Selection,
    spec: Spec,
    free: Free,
    on_gpu: bool,
    answers: int = 2,
    length: int = 2048,
) -> Room:
    """Whether answers can be given there: `free_on_gpu(gpu)` or `free_in_memory(hardware)`.

    spec: the run's, with the precision in which the base is held now. answers: at once, the base's and the
    tuned one's counted together. length: tokens of each, prompt included.
    """
    precision = precision_of(spec, on_gpu)
    number = 4 if precision is Precision.FP32 else 2
    if manifest.config.context:
        length = min(length, manifest.config.context)
    trained = 4 * trained_numbers(manifest, selection, spec)
    if spec.init_lora_weights in DIRECTED:
        trained *= 2  # saved as plain LoRA of twice the rank
    lasting = weight_bytes(manifest, precision) + trained
    moving = _answer_bytes(manifest, number, length, answers)
    around = CUDA_CONTEXT if on_gpu else WORKER_ON_CPU
    needed = lasting + moving + (lasting + moving) // 20 + _SLACK + around
    return Room(needed, free, on_gpu)


def _answer_bytes(manifest: Manifest, number: int, length: int, answers: int) -> int:
    """Keys and values of every token, one block's activations while the prompt is read, and the scores."""
    config = manifest.config
    cache = 2 * config.blocks * config.kv_heads * config.head_dim * number * length
    block = (4 * config.hidden_size + 3 * config.intermediate_size) * number * length
    scores = 3 * 4 * config.vocabulary
    return answers * (cache + block + scores)
