"""import, script: specs that travel, in from other tools and out as plain Python."""

import argparse
from pathlib import Path

from finetune_tui.core.calls.client import inspect_folder
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import write_atomically
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, load_manifest
from finetune_tui.core.runs.directory import find_run
from finetune_tui.core.runs.home import find_home
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.importing.importing import Imported, import_file
from finetune_tui.core.tuning.importing.telling import as_yaml, gravest, note_lines, trains
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.spec import FIELDS
from finetune_tui.core.tuning.spec_file import write_spec
from finetune_tui.tui.output import say, say_json


def import_spec(options: argparse.Namespace) -> int:
    """A file of axolotl, LLaMA-Factory or TRL as a spec, with a note on every key."""
    path = Path(options.file)
    out = _new_file(options.out)
    imported = import_file(path, _look, options.tool)
    text = as_yaml(imported, path.name)
    if out is not None:
        _write(out, text)
    if options.json:
        say_json(_answer(imported, out))
        return 0
    if out is None:
        say(text.rstrip())
        return 0
    for line in note_lines(imported):
        say(line)
    say("")
    say(trains(imported))
    look = gravest(imported)
    say(f"{plain(str(out))} is written{f'; look at what is {look}' if look else ''}")
    say(f"train it with: finetune-tui train {plain(str(out))}")
    return 0


def script(options: argparse.Namespace) -> int:
    """A run as one plain Python file."""
    from finetune_tui.core.export.script import script_of

    out = _new_file(options.out)
    run = find_run(find_home(options.home), options.run)
    text = script_of(run)
    if out is not None:
        _write(out, text)
    if options.json:
        written = str(out) if out else None
        say_json({"run": run.id, "path": str(run.path), "out": written, "script": text})
    elif out is None:
        say(text.rstrip())
    else:
        say(f"{plain(str(out))} trains what {run.short_id} trained: python {plain(str(out))}")
    return 0


def _look(reference: ModelReference) -> Manifest:
    return load_manifest(reference, inspect_folder)


def _answer(imported: Imported, out: Path | None) -> dict[str, object]:
    spec, manifest = imported.spec, imported.manifest
    modules = None
    if manifest is not None:
        chosen = selection_of(spec, manifest).choices
        modules = {name: choice.mode.value for name, choice in chosen.items()}
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name in FIELDS
        if name != "modules" and (value := getattr(spec, name)) != FIELDS[name].default
    }
    return {
        "tool": imported.tool,
        "model": spec.model_name_or_path,
        "settings": settings,
        "modules": modules,
        "notes": [note.to_json() for note in imported.notes],
        "spec": write_spec(spec),
        "out": str(out) if out else None,
    }


def _new_file(name: str | None) -> Path | None:
    """A file that is not there yet; nothing of a person's is written over."""
    if name is None:
        return None
    path = Path(name)
    try:
        if path.exists() or path.is_symlink():
            raise UserError("is there already", where=str(path), hint="choose another name")
        if not path.absolute().parent.is_dir():
            raise UserError("there is no such folder", where=str(path.parent))
    except (OSError, ValueError) as error:
        raise UserError("not the name of a file", where=plain(name, 200)) from error
    return path


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise WorkFailed(f"cannot be written ({error.strerror})", where=str(path)) from error
