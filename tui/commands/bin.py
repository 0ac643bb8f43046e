"""delete, restore, bin: runs that are put aside, brought back, or taken away for good."""

import argparse
import time

from finetune_tui.core.errors import UserError
from finetune_tui.core.runs.bin import (
    Binned,
    delete_run,
    empty_bin,
    find_binned,
    list_bin,
    restore_run,
)
from finetune_tui.core.runs.directory import RunDirectory, find_run
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.text import duration
from finetune_tui.tui.output import say, say_json, say_table


def delete(options: argparse.Namespace) -> int:
    """Move runs into the bin; nothing asks, for `restore` undoes it."""
    home = find_home(options.home)
    found = [find_run(home, text) for text in options.run]
    deleted = []
    for run in dict.fromkeys(found):
        deleted.append(delete_run(home, run))
        if not options.json:
            name = run.short_id
            say(f"{name} is in the bin: `finetune-tui restore {name}` brings it back")
    if options.json:
        say_json({"deleted": [_answer(binned) for binned in deleted]})
    return 0


def restore(options: argparse.Namespace) -> int:
    """Bring deleted runs back, by default the one deleted last."""
    home = find_home(options.home)
    newest = [binned.id for binned in list_bin(home)[:1]]
    if not options.run and not newest:
        raise UserError("the bin is empty: there is nothing to bring back")
    back = [restore_run(home, find_binned(home, text)) for text in options.run or newest]
    if options.json:
        say_json({"restored": [{"id": run.id, "path": str(run.path)} for run in back]})
        return 0
    for run in back:
        say(f"{run.short_id} is back in {run.path}")
    return 0


def bin(options: argparse.Namespace) -> int:
    """What can be brought back; `--empty` takes it away for good."""
    home = find_home(options.home)
    if options.days is not None and not options.empty:
        raise UserError("--days says what --empty takes away", hint="add --empty")
    if options.empty:
        gone = empty_bin(home, days=options.days or 0.0)
        if options.json:
            say_json({"taken_away": [_answer(binned) for binned in gone]})
        else:
            say(
                f"{len(gone)} deleted runs are taken away for good"
                if gone
                else "Nothing to take away."
            )
        return 0
    binned = list_bin(home)
    if options.json:
        say_json({"bin": [_answer(each) for each in binned]})
    elif not binned:
        say("The bin is empty.")
    else:
        now = time.time()
        rows = ((RunDirectory(each.path).short_id, each.id, _ago(each, now)) for each in binned)
        say_table(("RUN", "ID", "DELETED"), rows, right=frozenset({2}))
    return 0


def _ago(binned: Binned, now: float) -> str:
    return f"{duration(now - binned.deleted)} ago"


def _answer(binned: Binned) -> dict[str, object]:
    return {"id": binned.id, "deleted": binned.deleted, "path": str(binned.path)}
