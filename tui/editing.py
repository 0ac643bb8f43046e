"""The spec in the person's own editor. What was typed is never lost: a text that is no spec is kept."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from textual.app import SuspendNotSupported

from finetune_tui.core.errors import UserError
from finetune_tui.core.files import write_atomically
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import parse_spec, write_spec

if TYPE_CHECKING:
    from finetune_tui.tui.app import FinetuneApp

T = TypeVar("T")

_LARGEST = 2**20  # bytes


def edit_in(app: "FinetuneApp") -> None:
    """Give the terminal to the editor, then put what comes back into the session."""
    session = app.session
    if session.reference is None or session.manifest is None:
        app.say("no model open: there is no spec yet")
        return
    try:
        spec = lent(app, lambda: edit_spec(session.current_spec(), app.services.home))
        if spec is None:
            app.say("an empty text: nothing was changed")
        elif spec.model_name_or_path != session.spec.model_name_or_path:
            from finetune_tui.core.models.resolve import find_model

            show = app.place_name or "layers"
            app.opening.model(find_model(spec.model_name_or_path), spec, show)
            return
        else:
            session.change_all(spec)
    except UserError as error:
        app.say_error(error)
    app.opening.data_of_spec()
    app.session_changed()


def lent(app: "FinetuneApp", work: Callable[[], T]) -> T:
    """What `work` returns or raises, with the terminal lent to what it starts.

    Raises UserError also where the terminal cannot be lent.
    """
    failure, result = None, None
    try:
        with app.suspend():  # which takes the terminal back only when nothing is raised in it
            try:
                result = work()
            except Exception as error:
                failure = error
    except SuspendNotSupported:
        raise UserError("this terminal cannot be lent to another program") from None
    if failure is not None:
        raise failure
    return cast("T", result)


def edit_spec(spec: Spec, home: Path) -> Spec | None:
    """What the person made of it; waits until the editor is closed. None when the text was emptied.

    A text that is no spec stays in `<home>/edited-spec.yaml`, and the next call goes on with it.
    Raises UserError when there is no editor, it fails, or the text is no spec.
    """
    path, unchanged = home / "edited-spec.yaml", write_spec(spec)
    try:
        if not path.exists():
            home.mkdir(parents=True, exist_ok=True)
            write_atomically(path, unchanged, durable=False)
        try:
            _run_editor(path)
        finally:
            text = path.read_bytes()[:_LARGEST].decode()
            if text == unchanged:
                path.unlink()
    except UnicodeDecodeError:
        raise _not_yet("not UTF-8 text", path) from None
    except OSError as error:
        raise UserError(f"cannot be edited ({error.strerror})", where=str(path)) from None
    try:
        edited = parse_spec(text).anchored(Path.cwd()) if text.strip() else None
    except UserError as error:
        raise _not_yet(str(error), path) from None
    path.unlink(missing_ok=True)
    return edited


def _run_editor(path: Path) -> None:
    wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        command = shlex.split(wanted)
        subprocess.run([*command, str(path)], check=True)
    except (OSError, ValueError, IndexError, subprocess.CalledProcessError) as error:
        why = getattr(error, "strerror", None) or str(error)
        if isinstance(error, subprocess.CalledProcessError):
            why = f"it ended with {error.returncode}"
        raise UserError(
            f"the editor did not work ({plain(why, 100)})",
            where=plain(wanted, 60),
            hint="set $EDITOR; the spec is as it was",
        ) from None


def _not_yet(why: str, path: Path) -> UserError:
    return UserError(why, hint=f"e goes on with it, kept in {path}")
