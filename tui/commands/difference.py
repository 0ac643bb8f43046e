"""diff, duplicate: one run beside another, and as the beginning of another."""

import argparse

from finetune_tui.core.runs.difference import spec_difference
from finetune_tui.core.runs.directory import find_run
from finetune_tui.core.runs.duplicate import spec_to_edit
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.output import say, say_json, say_table


def diff(options: argparse.Namespace) -> int:
    """The settings in which two runs differ."""
    home = find_home(options.home)
    left, right = find_run(home, options.run), find_run(home, options.other)
    found = spec_difference(left.spec(), right.spec())
    if options.json:
        lines = [{"key": one.key, "left": one.left, "right": one.right} for one in found]
        say_json({"left": left.id, "right": right.id, "differences": lines})
    elif not found:
        say(f"{left.short_id} and {right.short_id} have the same settings.")
    else:
        rows = ((one.key, one.left or "(not set)", one.right or "(not set)") for one in found)
        say_table(("SETTING", left.short_id, right.short_id), rows, right=frozenset())
    return 0


def duplicate(options: argparse.Namespace) -> int:
    """A run's spec with every path absolute, to be edited and trained again."""
    run = find_run(find_home(options.home), options.run)
    text = write_spec(spec_to_edit(run))
    if options.json:
        say_json({"id": run.id, "spec": text})
    else:
        say(text.rstrip("\n"))
    return 0
