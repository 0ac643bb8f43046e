"""Memory: the estimate against simulations of the real modules, other rules beside it, published points.

Expected before measuring: a mean error under 0.5 % and none over 3 % for the estimate; tens of percent for
the two rules, which know no activations. Alone (`python -m benchmarks.memory`) it writes results/memory.md.
"""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.memory_points import POINTS
from benchmarks.memory_settings import SEED, Compared, compare, random_settings
from benchmarks.table import Table
from finetune_tui.core.memory import costs
from finetune_tui.core.memory.allocator import replay
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import GIB, Precision, Verdict, estimate, verdict
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.spec import Spec

RESULTS = Path(__file__).parent / "results" / "memory.md"
SETTINGS = 200
_BYTES = {Precision.FP32: 4.0, Precision.BF16: 2.0, Precision.INT8: 1.0, Precision.NF4: 0.5}


def measure() -> Table:
    """Some minutes: two steps of each setting, at the blocks the setting says."""
    return table_of(list(compared_settings()))


def compared_settings() -> Iterator[Compared]:
    return (compare(setting) for setting in random_settings(SETTINGS))


def table_of(compared: Sequence[Compared]) -> Table:
    said = [one.estimate.allocated for one in compared]
    rows = [
        ("the estimate, allocated", *_errors(compared, said)),
        ("the estimate, reserved", *_reserved_errors(compared)),
        ("accelerate estimate-memory, allocated", *_errors(compared, list(map(_rule, compared)))),
        ("2 × parameters, allocated", *_errors(compared, list(map(_twice, compared)))),
        *_verdict_rows(compared),
        ("milliseconds, Llama-3.1-8B, a choice changed", *_milliseconds()),
    ]
    head = ("", "mean error", "largest error", "which")
    title = (
        f"Memory: {len(compared)} random settings (seed {SEED}), models cut to 2 to 6 blocks, "
        "against a simulated step"
    )
    expected = "allocated 0.5 % at most on average, 3 % at most; nothing told to fit that does not"
    return Table(title, expected, head, rows)


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


def verdicts(compared: Sequence[Compared]) -> dict[tuple[Verdict, bool], int]:
    """(what was told, whether the simulated step runs through on that card) → how often, over all cards."""
    counted = {(told, would): 0 for told in Verdict for would in (True, False)}
    for one in compared:
        for usable in CARDS.values():
            told = verdict(one.estimate, usable)
            assert told is not None
            counted[told, one.card is not None and one.card <= usable] += 1
    return counted


def _verdict_rows(compared: Sequence[Compared]) -> Iterator[tuple[str, str, str, str]]:
    counted = verdicts(compared)
    asked, would = sum(counted.values()), sum(n for (_, fits), n in counted.items() if fits)
    unsure = counted[Verdict.MAY, True]
    missed = counted[Verdict.NO, True] + unsure
    yield "told to fit, and does not", str(counted[Verdict.FITS, False]), f"of {asked}", "all cards"
    yield "told not to fit, and would", str(counted[Verdict.NO, True]), f"of {asked}", ""
    yield "told that it may fit, and would", str(unsure), f"of {asked}", ""
    share = f"{missed / asked:.1%} of {asked}, {missed / would:.1%} of the {would} that fit"
    yield "not told to fit, and would", str(missed), share, "the two above"


def _errors(compared: Sequence[Compared], said: Sequence[float]) -> tuple[str, str, str]:
    return _worst(compared, [s / one.allocated - 1 for one, s in zip(compared, said, strict=True)])


def _reserved_errors(compared: Sequence[Compared]) -> tuple[str, str, str]:
    return _worst(compared, [one.estimate.reserved / one.reserved - 1 for one in compared])


def _worst(compared: Sequence[Compared], errors: Sequence[float]) -> tuple[str, str, str]:
    worst = max(range(len(errors)), key=lambda index: abs(errors[index]))
    mean = statistics.mean(map(abs, errors))
    return f"{mean:.3%}", f"{errors[worst]:+.2%}", str(compared[worst].setting)


def _rule(one: Compared) -> float:
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


def main() -> None:
    names = ("torch", "transformers", "peft", "bitsandbytes")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    parts = ["# Memory", f"Python {platform.python_version()}, {versions}, no GPU."]
    for make in (measure_points, measure):
        parts.append(str(make()))
        print(parts[-1], flush=True)
    RESULTS.write_text("\n\n".join(parts))


if __name__ == "__main__":
    main()
