"""Opening models and data: read beside the screen, then shown."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_tui.core.errors import UserError
from finetune_tui.core.text import plain

if TYPE_CHECKING:
    from finetune_tui.core.data.report import DataReport
    from finetune_tui.core.models.manifest import Manifest
    from finetune_tui.core.models.resolve import ModelReference
    from finetune_tui.core.tuning.importing.importing import Imported
    from finetune_tui.core.tuning.spec import Spec
    from finetune_tui.tui.app import FinetuneApp


class Opening:
    """What is opened goes into the session, and the place that shows it comes to the front."""

    def __init__(self, app: "FinetuneApp") -> None:
        self._app = app
        self.unread_data = ""  # what was typed and could not be read, to be mended
        self.unread_spec = ""

    def model(
        self, reference: "ModelReference", spec: "Spec | None" = None, show: str = "layers"
    ) -> None:
        """Read the manifest in a thread, then work on it and show a place."""
        app = self._app

        def opened(manifest: "Manifest") -> None:
            try:
                app.session.open_model(reference, manifest, spec)
            except UserError as error:
                app.say_error(error)
                return
            app.hush()
            self._prepare_search(manifest)
            self.data_of_spec()
            app.call_later(app.action_show_place, show)

        app.say(f"opening {reference.title}…")
        app.in_thread(lambda: self._load(reference), opened, group="model")

    def _load(self, reference: "ModelReference") -> "Manifest":
        """The manifest, with what the tree derives from it made already: beside the screen."""
        from finetune_tui.core.memory.estimate import estimate_all
        from finetune_tui.core.tuning.selection import Selection
        from finetune_tui.core.tuning.spec import Spec
        from finetune_tui.tui.widgets.tree_shape import shape_of

        manifest = self._app.services.load_manifest(reference)
        shape_of(manifest).prepare()
        estimate_all(manifest, Selection(), Spec())
        gc.freeze()  # a large tree stays as long as it is open: no collection need walk it again
        return manifest

    def _prepare_search(self, manifest: "Manifest") -> None:
        """A list of every row, for a large model too long to make between two keys."""
        from finetune_tui.tui.widgets.tree_shape import shape_of

        self._app.in_thread(lambda: shape_of(manifest).order, lambda _order: None, group="search")

    def data_of_spec(self) -> None:
        """Read the files that the spec names, so that every place can say what is in them."""
        app = self._app
        sources = app.session.spec.train_files
        if sources and not app.session.has_read_data:
            app.in_thread(lambda: app.services.read_data(sources), self._saw_data, group="data")

    def _saw_data(self, report: "DataReport") -> None:
        if report.sources == self._app.session.spec.train_files:
            self._app.session.data = report
            self._app.session_changed()

    def ask_data(self) -> None:
        """Ask for data, read it, and show what is in it."""
        self._app.ask("file, folder or Hub data set", self.data, self.unread_data, path=True)

    def ask_spec(self) -> None:
        """Ask for a spec, this app's or another tool's, and open the model it is about."""
        words = "spec, or a YAML of axolotl, LLaMA-Factory, TRL"
        self._app.ask(words, self.spec, self.unread_spec, path=True)

    def spec(self, name: str) -> None:
        """A YAML file as it was typed; of another tool's, what became of its keys is shown."""
        if not name:
            return
        app, path = self._app, Path(name).expanduser()
        self.unread_spec = ""

        def failed(error: UserError) -> None:
            self.unread_spec = name
            app.say_error(error)

        app.say(f"reading {plain(str(path))}…")
        app.in_thread(lambda: self._read_spec(path), self._open_spec, "spec", failed)

    def _read_spec(self, path: Path) -> "tuple[Spec, Imported | None]":
        from finetune_tui.core.tuning.importing.importing import import_file, other_tool
        from finetune_tui.core.tuning.spec_file import read_spec

        if other_tool(path) is None:
            return read_spec(path), None
        imported = import_file(path, self._app.services.load_manifest)
        return imported.spec, imported

    def _open_spec(self, found: "tuple[Spec, Imported | None]") -> None:
        from finetune_tui.core.models.resolve import find_model
        from finetune_tui.core.tuning.importing.telling import as_page, gravest

        spec, imported = found
        try:
            reference = find_model(spec.model_name_or_path)
        except UserError as error:
            self._app.say_error(error)
            return
        self.model(reference, spec, "train")
        if imported is not None:
            look = gravest(imported) or "every key was understood"
            title = f"from {imported.title}: {look}"
            self._app.read(title, lambda: as_page(imported))

    def data(self, name: str) -> None:
        """A file, a folder or a data set of the Hub, as it was typed; a spec is opened as one."""
        if not name:
            return
        if name.lower().endswith((".yaml", ".yml")):
            self.spec(name)
            return
        from finetune_tui.core.models.data_set_name import anchored

        app, source = self._app, anchored(name, Path.cwd())
        self.unread_data = ""

        def failed(error: UserError) -> None:
            self.unread_data = name
            app.say_error(error)

        app.say(f"reading {plain(source)}…")
        app.in_thread(lambda: app.services.read_data([source]), self._use_data, "data", failed)

    async def _use_data(self, report: "DataReport") -> None:
        """Train on this data, and show it."""
        self._app.hush()
        self._app.session.use_data(report)
        await self._app.action_show_place("data")
