"""The settings form: every key of a spec, with what its number comes to here."""

from finetune_tui.core.tuning.spec import Spec
from finetune_tui.tui.widgets.field_form import FieldForm
from finetune_tui.tui.widgets.form_rows import Row, help_words, rows


class SettingsForm(FieldForm):
    """Shows a spec."""

    class Wanted(FieldForm.Wanted):
        """The person set a value; answer with `accept` or `refuse`."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(Spec(), rows(), id=id)
        self._data_rows: int | None = None

    def show(self, spec: Spec, data_rows: int | None = None) -> None:
        """data_rows: the usable rows of the training files, when they have been read."""
        self._data_rows = data_rows
        self.show_values(spec)

    def about(self, row: Row) -> str:
        assert isinstance(self.values, Spec)
        return help_words(self.values, row.field, self._data_rows) if row.field else ""
