"""data: what a file holds, before anyone trains on it."""

import argparse
from typing import Any

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.data.report import report_of
from finetune_tui.core.models.resolve import find_model, load_manifest
from finetune_tui.core.text import count, percent, plain, visible
from finetune_tui.core.tuning.spec import Spec, demo_spec
from finetune_tui.tui.commands.models import pairs
from finetune_tui.tui.counting import ask_tokens, question_of
from finetune_tui.tui.output import ProgressLine, on_terminal, say, say_json
from finetune_tui.tui.pieces import merged

_MOST_BAD_ROWS = 10
_MOST_FILES = 5


def data(options: argparse.Namespace) -> int:
    """Format, bad rows and lengths; in tokens, with what of them trains, when a model is named."""
    if options.model:
        answer = _in_tokens(options)
    else:
        answer = report_of(options.file, strict=options.strict).to_json()
    if options.json:
        say_json(answer)
    else:
        _say_facts(answer)
        _say_tokens(answer)
    return 0


def _in_tokens(options: argparse.Namespace) -> dict[str, Any]:
    reference = find_model(options.model)
    base = demo_spec() if reference.kind == "demo" else Spec()
    spec = base.changed(
        **pairs(options.set),
        **({"max_length": options.max_length} if options.max_length is not None else {}),
        train_files=options.file,
        model_name_or_path=reference.name,
        strict=options.strict,
    )
    question = question_of(spec, load_manifest(reference, inspect_folder))
    line = ProgressLine()
    try:
        return ask_tokens(question, line.show, examples=1)
    finally:
        line.clear()


def _say_facts(answer: dict[str, Any]) -> None:
    for file in answer["files"][:_MOST_FILES]:
        say(f"file       {file}")
    if len(answer["files"]) > _MOST_FILES:
        say(f"           and {len(answer['files']) - _MOST_FILES} more")
    say(f"format     {answer['format']}, fields: {', '.join(answer['columns'][:8])}")
    repeated = f", {answer['duplicates']:,} repeated" if answer["duplicates"] else ""
    say(f"rows       {answer['rows']:,} usable, {len(answer['bad_rows'])} bad{repeated}")
    for bad in answer["bad_rows"][:_MOST_BAD_ROWS]:
        say(f"           {bad['file']}:{bad['line']}: {bad['error']}")
    if len(answer["bad_rows"]) > _MOST_BAD_ROWS:
        say(f"           and {len(answer['bad_rows']) - _MOST_BAD_ROWS} more")
    lengths = answer["lengths"]
    say(
        f"lengths    {lengths['min']} to {lengths['max']} {lengths['unit']}, "
        f"median {lengths['median']}, 95 % up to {lengths['p95']}"
    )


def _say_tokens(answer: dict[str, Any]) -> None:
    if answer["tokens"] is not None:
        share = percent(answer["share_trained"], 1)
        say(f"tokens     {count(answer['tokens'])}, of which {share} train")
        say(f"cut        {_cut_words(answer)}")
        ends = answer["ends_trained"]
        say(f"end token  {'trained' if ends else 'NOT trained: replies would not end'}")
    for note in answer["notes"]:
        say(f"note       {note}")
    for example in answer.get("examples", ())[:1]:
        _say_example(example)


def _cut_words(answer: dict[str, Any]) -> str:
    if not answer["cut_rows"]:
        return f"nothing at max_length {answer['max_length']}"
    share = percent(answer["cut_rows"], answer["looked_at"])
    return (
        f"{answer['cut_rows']:,} rows ({share}) lose {count(answer['cut_tokens'])} tokens "
        f"at max_length {answer['max_length']}"
    )


def _say_example(example: dict[str, Any]) -> None:
    """One row. What trains is bold and underlined on a terminal, between marks in a pipe."""
    on, off = ("\x1b[1;4m", "\x1b[0m") if on_terminal() else ("⟦", "⟧")
    legend = f"what trains is {on}underlined{off}" if on_terminal() else f"{on} what trains {off}"
    shown = list(merged(example["tokens"]))
    say(f"\n{plain(example['where'])}")
    text = "".join(
        f"{on}{visible(piece)}{off}" if trains else visible(piece) for piece, trains in shown
    )
    # Not through `say`, which would take the marks of the terminal away: all else is made visible.
    print(f"{legend}:\n", *(f"  {part}" for part in text.split("\n")), sep="\n", flush=True)
    if example["cut"]:
        say(f"  … {example['cut']} tokens are cut off here")
