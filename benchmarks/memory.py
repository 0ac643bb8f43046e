"""Memory: the estimate against simulations of the real modules, other rules beside it, published points.

Expected before measuring: a mean error under 0.5 % and none over 3 % for the estimate; tens of percent for
the two rules, which know no activations.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.memory_points import POINTS
from benchmarks.memory_settings import Compared, compare, random_settings
from benchmarks.table import Table
from finetune_tui.core.memory import costs
from finetune_tui.core.memory.allocator import replay
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import GIB, Precision, estimate, fits
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.spec import Spec

SETTINGS = 200
_BYTES = {Precision.FP32: 4.0, Precision.BF16: 2.0, Precision.INT8: 1.0, Precision.NF4: 0.5}


def measure() -> Table:
    """Some minutes: two steps of each setting, at the blocks the setting says."""
    compared = [compare(setting) for setting in random_settings(SETTINGS)]
    wrong, missed = verdicts(compared)
    asked = len(compared) * len(CARDS)
    rows = [
        ("the estimate", *_errors(compared, [one.estimate.allocated for one in compared])),
        ("accelerate estimate-memory", *_errors(compared, list(map(_accelerate, compared)))),
        ("2 × parameters", *_errors(compared, list(map(_twice, compared)))),
        ("told to fit and does not", str(wrong), f"of {asked}", ""),
        ("told not to fit and would", str(missed), f"of {asked}", ""),
        ("milliseconds, 8B, a choice changed", *_milliseconds()),
    ]
    head = ("", "mean error", "largest error", "which")
    title = f"Memory: {SETTINGS} random settings against a simulated step, allocated"
    return Table(title, "0.5 % at most on average, 3 % at most", head, rows)


def measure_points() -> Table:
    """The points of others, stepped here."""
    rows = []
    for point in POINTS:
        trace = point.trace()
        found = replay(trace).reserved if point.measured else trace.peak().bytes
        error = found / GIB / point.gib - 1
        rows.append((point.title, f"{point.gib:.2f}", f"{found / GIB:.2f}", f"{error:+.2%}"))
    head = ("", "published GiB", "simulated GiB", "off")
    return Table("Memory: published points", "1 %, measured ones 5 %", head, rows)


def verdicts(compared: Sequence[Compared]) -> tuple[int, int]:
    """(told to fit and does not, told not to fit and would), over all cards."""
    wrong = missed = 0
    for one in compared:
        for usable in CARDS.values():
            told = bool(fits(one.estimate, usable))
            would = one.card is not None and one.card <= usable
            wrong += told and not would
            missed += would and not told
    return wrong, missed


def _errors(compared: Sequence[Compared], said: Sequence[float]) -> tuple[str, str, str]:
    errors = [abs(bytes / one.allocated - 1) for one, bytes in zip(compared, said, strict=True)]
    worst = max(range(len(errors)), key=errors.__getitem__)
    return f"{statistics.mean(errors):.2%}", f"{errors[worst]:.2%}", str(compared[worst].setting)


def _accelerate(one: Compared) -> float:
    """`accelerate estimate-memory`'s column for training with Adam: four times the weights."""
    return 4 * _BYTES[one.setting.precision] * one.parameters


def _twice(one: Compared) -> float:
    """The rule of thumb: a billion parameters, two gigabytes."""
    return 2.0 * one.parameters


def _milliseconds() -> tuple[str, str, str]:
    """(after one module changed, with nothing remembered, settings)."""
    manifest = catalog()["meta-llama/Llama-3.1-8B"].manifest()
    spec = Spec(load_in_4bit=True)
    selection = resolve_preset("all-linear", manifest).selection
    changed, first = [], []
    for block in range(manifest.blocks):
        selection = selection.set([f"model.layers.{block}.self_attn.q_proj"], None)
        changed.append(_timed(partial(estimate, manifest, selection, spec, Precision.NF4)))
        for cache in (costs.block_cost, costs.loss_cost, costs.embedding_cost):
            cache.cache_clear()
        first.append(_timed(partial(estimate, manifest, selection, spec, Precision.NF4)))
    return (
        f"{1000 * statistics.median(changed):.2f}",
        f"{1000 * statistics.median(first):.2f}",
        "second column: nothing remembered",
    )


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(measure_points())
    print(measure())
