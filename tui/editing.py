"""The spec in the person's own editor."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain
from finetune_tui.core.tuning.spec import Spec
from finetune_tui.core.tuning.spec_file import parse_spec, write_spec


def edit_spec(spec: Spec) -> Spec:
    """What the person made of it; waits until the editor is closed.

    Raises UserError when there is no editor, it fails, or the text is no spec.
    """
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory(prefix="finetune-tui-") as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(write_spec(spec), encoding="utf-8")
        try:
            subprocess.run([*command, str(path)], check=True)
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, subprocess.CalledProcessError) as error:
            name = plain(command[0], 60)
            raise UserError(
                f"the editor did not work ({plain(str(error), 100)})",
                where=name,
                hint="set $EDITOR",
            ) from None
        return parse_spec(text).anchored(Path.cwd())
