"""Predicted and measured memory of real training steps on this machine's first GPU, in one table.

    python -m benchmarks.memory_on_gpu [--into FOLDER] [--only WORDS] [--tiny] [--cpu]

Models of the catalog with random weights, made on the GPU from their configs; quantised, adapted and stepped
by the worker's own functions, each in a process of its own. What was measured is not measured again: start it
once more and it goes on. The table is FOLDER/memory_on_gpu.md.

Expected before measuring: reserved memory off by under 5 % on average, and no case told to fit a card that
it does not.
"""

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_case import Case, measure_into
from benchmarks.table import Table
from finetune_tui.core.files import write_atomically
from finetune_tui.core.memory.cards import CARDS
from finetune_tui.core.memory.estimate import GIB

INTO = Path(__file__).parent / "results" / "memory_on_gpu"
LONGEST = 240.0  # seconds a case may take; on a machine with nothing else to do it takes ten

_PHI, _QWEN = "microsoft/phi-2", "Qwen/Qwen2.5-1.5B"
_SMALL, _LARGE = "meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.1-8B"
_MODELS = (_PHI, _QWEN, _SMALL, _LARGE)
_NF4, _INT8 = {"load_in_4bit": True}, {"load_in_8bit": True}
_LEAN = {"optim": "adamw_8bit"}


def _cases() -> Iterator[Case]:
    """Those that differ most first, so that a time that is cut short has seen some of each."""
    for model in _MODELS:
        yield Case(model, "LoRA", "all-linear", 2, 2048, True)
    for model in _MODELS:
        yield Case(model, "NF4", "all-linear", 2, 2048, True, _NF4)
    for model in _MODELS:
        yield Case(model, "8-bit", "all-linear", 4, 512, True, _INT8)
    for model in _MODELS:
        yield Case(model, "last 4", "last 4 blocks", 4, 512, False)
    for model in (_PHI, _QWEN):
        yield Case(model, "BitFit", "biases", 4, 512, False)
        yield Case(model, "BitFit", "biases", 2, 2048, True)
    for model in _MODELS:
        lean = _LEAN if model == _LARGE else {}
        yield Case(model, "full", "full", 1, 2048, True, lean)
    for model in _MODELS:
        yield Case(model, "LoRA", "all-linear", 4, 512, False)
    yield Case(_PHI, "NF4", "all-linear", 4, 512, False, _NF4)
    yield Case(_QWEN, "8-bit", "all-linear", 2, 2048, False, _INT8)
    yield Case(_SMALL, "NF4", "all-linear", 2, 2048, False, _NF4)
    yield Case(
        _LARGE, "NF4 paged", "all-linear", 4, 512, False, _NF4 | {"optim": "paged_adamw_8bit"}
    )
    yield Case(_SMALL, "last 4", "last 4 blocks", 2, 2048, True)
    yield Case(_QWEN, "full", "full", 4, 512, False)


CASES = tuple(_cases())
TINY = (
    Case("demo", "NF4", "all-linear", 2, 64, True, _NF4),
    Case("demo", "full", "full", 2, 64, False),
    Case("demo", "8-bit", "all-linear", 2, 32, False, _INT8),
    Case("demo", "BitFit", "biases", 2, 32, True),
)


def measure(cases: Sequence[Case], into: Path, use_cpu: bool) -> None:
    """Measure what is not there yet; one process after the other, so that none sees another's memory."""
    into.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork cannot use CUDA after bitsandbytes' import
    for number, case in enumerate(cases, 1):
        path = result_path(into, case)
        if not path.exists() or _read(path).get("error"):
            path.unlink(missing_ok=True)
            process = context.Process(target=measure_into, args=(path, case, use_cpu))
            process.start()
            process.join(LONGEST)
            if process.is_alive():
                process.kill()
                process.join()
            if not path.exists():
                error = f"ended with exit code {process.exitcode} within {LONGEST:.0f} s"
                write_atomically(path, json.dumps({"case": case.name, "error": error}))
        print(f"{number} of {len(cases)}  {case.name}  {_in_short(_read(path))}", flush=True)


def result_path(into: Path, case: Case) -> Path:
    plain = "".join(sign if sign.isalnum() or sign in ".-" else "_" for sign in case.name)
    return into / f"{plain}.json"


def table(results: Sequence[dict[str, Any]]) -> str:
    """What was measured, and what of it was told right."""
    measured = [one for one in results if one.get("memory")]
    machines = sorted({_machine_words(one["machine"]) for one in measured})
    head = (
        "",
        "allocated GiB",
        "off",
        "reserved GiB",
        "off",
        "device GiB",
        "off",
        "context GiB",
        "s",
    )
    rows = [_row(one) for one in measured]
    rows += [(one["case"], str(one["error"]), *[""] * 7) for one in results if one.get("error")]
    title = f"Memory: {len(measured)} real runs, predicted → measured"
    expected = "reserved off by under 5 % on average; nothing told to fit that does not"
    parts = ["# Memory on a GPU", *machines, str(Table(title, expected, head, rows))]
    return "\n\n".join([*parts, *_summary(measured)]) + "\n"


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    memory = one["memory"]
    cells = [one["case"]]
    for name in ("allocated", "reserved", "device"):
        predicted, peak = memory[f"predicted_{name}"], memory[f"peak_{name}"]
        if predicted is None or peak is None:
            cells += ["unknown", ""]
        else:
            cells += [f"{_gib(predicted)} → {_gib(peak)}", f"{predicted / peak - 1:+.1%}"]
    context = memory["context"]
    return (*cells, "unknown" if context is None else _gib(context), f"{one['seconds']:.0f}")


def _summary(measured: Sequence[dict[str, Any]]) -> Iterator[str]:
    for name in ("allocated", "reserved", "device"):
        errors = [
            abs(memory[f"predicted_{name}"] / memory[f"peak_{name}"] - 1)
            for one in measured
            if (memory := one["memory"])[f"predicted_{name}"] and memory[f"peak_{name}"]
        ]
        if errors:
            mean, most = statistics.mean(errors), max(errors)
            yield f"{name}: mean error {mean:.1%}, largest {most:.1%}, {len(errors)} runs"
    wrong, missed, asked = _verdicts(measured)
    yield f"told to fit and does not: {wrong} of {asked}; not told to fit and would: {missed}"


def _verdicts(measured: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """(wrong, missed, asked), over all sizes of cards, by the peak of the whole device."""
    wrong = missed = asked = 0
    for one in measured:
        memory = one["memory"]
        if memory["peak_device"] is None:
            continue
        for usable in CARDS.values():
            told = memory["predicted_device"] + memory["predicted_band"] <= usable
            fits = memory["peak_device"] <= usable
            asked += 1
            wrong += told and not fits
            missed += fits and not told
    return wrong, missed, asked


def _machine_words(machine: dict[str, Any]) -> str:
    total = f" {machine['total'] / GIB:.0f} GiB" if machine["total"] else ""
    where = f"{machine['gpu']}{total}, driver {machine['driver']}" if machine["gpu"] else "CPU"
    names = ("python", "torch", "cuda", "transformers", "peft", "bitsandbytes", "accelerate")
    return f"{where}; " + ", ".join(f"{name} {machine[name]}" for name in names)


def _in_short(one: dict[str, Any]) -> str:
    if one.get("error"):
        return str(one["error"])
    memory = one["memory"]
    name = "reserved" if memory["peak_reserved"] else "device"
    predicted, peak = memory[f"predicted_{name}"], memory[f"peak_{name}"]
    return f"{name} {_gib(predicted)} → {_gib(peak)} GiB, {predicted / peak - 1:+.1%}"


def _gib(number: int) -> str:
    return f"{number / GIB:.2f}"


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="memory_on_gpu", description="Predicted against measured."
    )
    parser.add_argument("--into", type=Path, default=INTO)
    parser.add_argument("--only", default="", help="cases whose name contains these words")
    parser.add_argument("--tiny", action="store_true", help="the demo model instead")
    parser.add_argument("--cpu", action="store_true", help="on the CPU: only its resident memory")
    options = parser.parse_args(arguments)
    cases = [case for case in (TINY if options.tiny else CASES) if options.only in case.name]
    measure(cases, options.into, options.cpu)
    results = [_read(result_path(options.into, case)) for case in cases]
    (options.into / "memory_on_gpu.md").write_text(table(results))


if __name__ == "__main__":
    main()
