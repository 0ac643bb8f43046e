"""name, note, tag, archive: what a person calls a run."""

import argparse
import dataclasses

from finetune_tui.core.runs.directory import RunDirectory, find_run
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.runs.labels import Labels, change_labels, read_labels, read_tags
from finetune_tui.tui.output import say, say_json


def name(options: argparse.Namespace) -> int:
    """Say or change the name; `--clear` takes it away."""
    run = _run(options)
    words = " ".join(options.text)
    changes = options.clear or words
    return _say(options, run, change_labels(run, name=words) if changes else read_labels(run))


def note(options: argparse.Namespace) -> int:
    """Say or change the note; `--clear` takes it away."""
    run = _run(options)
    words = " ".join(options.text)
    changes = options.clear or words
    return _say(options, run, change_labels(run, note=words) if changes else read_labels(run))


def tag(options: argparse.Namespace) -> int:
    """Say the tags, add some, or take some away."""
    run = _run(options)
    labels = read_labels(run)
    gone = set(read_tags(" ".join(options.remove)))
    kept = () if options.clear else tuple(tag for tag in labels.tags if tag not in gone)
    tags = tuple(dict.fromkeys((*kept, *read_tags(" ".join(options.text)))))
    return _say(options, run, change_labels(run, tags=tags) if tags != labels.tags else labels)


def archive(options: argparse.Namespace) -> int:
    """Leave runs out of the list, or (`--undo`) show them again."""
    home = find_home(options.home)
    found = [find_run(home, text) for text in options.run]
    for run in found:
        change_labels(run, archived=not options.undo)
    if options.json:
        say_json({"archived": not options.undo, "runs": [run.id for run in found]})
        return 0
    for run in found:
        words = (
            "is shown again" if options.undo else "is archived: `finetune-tui runs --all` shows it"
        )
        say(f"{run.short_id} {words}")
    return 0


def _run(options: argparse.Namespace) -> RunDirectory:
    return find_run(find_home(options.home), options.run)


def _say(options: argparse.Namespace, run: RunDirectory, labels: Labels) -> int:
    if options.json:
        say_json({"id": run.id} | dataclasses.asdict(labels) | {"tags": list(labels.tags)})
        return 0
    say(run.short_id)
    for key, words in (
        ("name", labels.name),
        ("tags", ", ".join(labels.tags)),
        ("note", labels.note),
    ):
        say(f"  {key}  {words or '(none)'}")
    return 0
