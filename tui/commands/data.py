"""data: what a file holds, before anyone trains on it."""

import argparse
from pathlib import Path
from typing import Any

from finetune_tui.core.calls.client import CallProcess
from finetune_tui.core.data.report import report_of
from finetune_tui.core.models.resolve import find_model, tokenizer_folder
from finetune_tui.core.text import count, percent
from finetune_tui.tui.output import ProgressLine, say, say_json

_MOST_BAD_ROWS = 10


def data(options: argparse.Namespace) -> int:
    """Format, bad rows and lengths; in tokens, with the share that trains, when a model is named."""
    files = [Path(file) for file in options.file]
    if options.model:
        answer = _in_tokens(files, options)
    else:
        answer = report_of(files, strict=options.strict).to_json()
    if options.json:
        say_json(answer)
    else:
        _print(answer)
    return 0


def _in_tokens(files: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    reference = find_model(options.model)
    line = ProgressLine()
    params = {
        "files": [str(file) for file in files],
        "weights": str(tokenizer_folder(reference)),
        "name": reference.name,
        "max_length": options.max_length,
        "strict": options.strict,
    }
    try:
        with CallProcess() as process:
            answer: dict[str, Any] = process.call(
                "tokens", params, lambda progress: line.show(_progress(progress)), timeout=3600
            )
    finally:
        line.clear()
    return answer


def _progress(progress: dict[str, Any]) -> str:
    if progress.get("total"):
        return f"{progress['words']} {progress['done']}/{progress['total']}"
    return str(progress["words"])


def _print(answer: dict[str, Any]) -> None:
    say(f"format     {answer['format']}")
    say(f"rows       {answer['rows']:,} usable, {len(answer['bad_rows'])} bad")
    for bad in answer["bad_rows"][:_MOST_BAD_ROWS]:
        say(f"           {bad['file']}:{bad['line']}: {bad['error']}")
    if len(answer["bad_rows"]) > _MOST_BAD_ROWS:
        say(f"           and {len(answer['bad_rows']) - _MOST_BAD_ROWS} more")
    lengths = answer["lengths"]
    say(
        f"lengths    {lengths['min']} to {lengths['max']} {lengths['unit']}, "
        f"median {lengths['median']}, 95 % under {lengths['p95']}"
    )
    if answer["tokens"] is not None:
        share = percent(answer["trained_tokens"], answer["tokens"])
        say(f"tokens     {count(answer['tokens'])}, of which {share} train")
        say(
            f"end token  {'trained' if answer['ends_trained'] else 'NOT trained: replies would not end'}"
        )
    for note in answer["notes"]:
        say(f"note       {note}")
