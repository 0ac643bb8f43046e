"""The form of an export: its rows, its keys, and the folder it proposes."""

from pathlib import Path

from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.tuning.task_spec import TASK_FIELDS, ExportSpec
from finetune_tui.tui.actions import Action, ActionGroup
from finetune_tui.tui.screens.task_sheet import BUTTONS, buttons, form_actions, start_actions
from finetune_tui.tui.widgets.field_form import FieldForm
from finetune_tui.tui.widgets.form_rows import Row

ABOUT = (
    "The result as a folder that plain Transformers and PEFT load: the adapter as it is, or one whole model,"
    " checked against the run's own answers. With a repository named it is sent to the Hub afterwards, in"
    " one commit."
)
FIELDS = TASK_FIELDS[ExportSpec]

_action = ActionGroup("export", "before an export")

EXPORT_ACTIONS: tuple[Action, ...] = (
    *start_actions(_action, "export"),
    _action(
        "dry_run", "d", "dry run", "ask the Hub what would be sent, and change nothing", footer=True
    ),
    *form_actions(_action),
)


def export_rows() -> list[Row]:
    """The buttons, then every key of the spec that is a choice here."""
    groups = {
        "what": ("merge", "dtype", "out"),
        "to the Hub": ("push_to", "private"),
        "how": ("use_cpu", "gpus", "name", "note", "tags"),
    }
    found = buttons("export")
    for title, names in groups.items():
        found.append(Row(title))
        found += [Row(name, FIELDS[name], path=name == "out") for name in names]
    return found


def free_folder(run: RunDirectory, merge: bool) -> str:
    """A folder that is not there yet, in the one the app was started in."""
    start = f"{run.path.name}-{'merged' if merge else 'adapter'}"
    names = [start, *(f"{start}-{number}" for number in range(2, 100))]
    here = Path.cwd()
    return str(next((here / name for name in names if not (here / name).exists()), here / start))


class ExportForm(FieldForm):
    """wrong: field → what is wrong with it. out: the whole path, as it will be."""

    def __init__(self) -> None:
        super().__init__(ExportSpec(), export_rows(), id="export-form")
        self.wrong: dict[str, str] = {}

    def about(self, row: Row) -> str:
        if row.title in self.wrong:
            return f"✗ {self.wrong[row.title]}"
        return BUTTONS[row.title] if row.button else super().about(row)

    def more(self, _row: Row) -> str:
        return ABOUT
