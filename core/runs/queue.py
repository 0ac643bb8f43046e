"""The queue on disk: specs that wait, in the order in which they are taken.

<home>/queue/q3.yaml      what is asked
<home>/queue/queue.json   the order, and how far each is; changed under a lock, replaced as a whole
"""

import contextlib
import dataclasses
import fcntl
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import read_json, write_atomically
from finetune_tui.core.text import did_you_mean, plain

if TYPE_CHECKING:
    from finetune_tui.core.tuning.task_spec import AnySpec

_LARGEST = 2**24  # bytes
_MOST = 1000  # specs that may wait


class ItemStatus(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class QueueItem:
    """gpus: as asked, while it runs as given. run: the run's id, once there is one. why: what went wrong.

    added: seconds since 1970. path: its spec.
    """

    id: str
    title: str
    path: Path
    task: str = "train"
    model: str | None = None
    preset: str | None = None
    gpus: tuple[str, ...] = ()
    status: ItemStatus = ItemStatus.WAITING
    run: str | None = None
    why: str | None = None
    added: float = 0.0

    def changed(self, **values: Any) -> "QueueItem":
        return dataclasses.replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["path"]
        return values | {"gpus": list(self.gpus), "status": self.status.value}


@dataclass(frozen=True, slots=True)
class Queue:
    """items: those that run, those that wait, in their order, those that failed.

    is_held: nothing more is started; held_because: why, when nobody asked for it. stops_on_failure: a
    failure holds it.
    """

    items: tuple[QueueItem, ...] = ()
    is_held: bool = False
    held_because: str | None = None
    stops_on_failure: bool = False
    last_number: int = 0

    def of(self, status: ItemStatus) -> tuple[QueueItem, ...]:
        return tuple(item for item in self.items if item.status is status)

    def item(self, name: str) -> QueueItem:
        """The item meant by `q3`, `Q3` or `3`. Raises UserError."""
        wanted = name.strip().lower()
        for item in self.items:
            if wanted in (item.id, item.id.removeprefix("q")):
                return item
        known = [item.id for item in self.items]
        hint = did_you_mean(wanted, known) or ("it is empty" if not known else ", ".join(known[:9]))
        raise UserError(f"'{plain(name, 40)}' is not in the queue", hint=hint)

    def changed(self, **values: Any) -> "Queue":
        return dataclasses.replace(self, **values)

    def with_item(self, item: QueueItem) -> "Queue":
        """With this item in the place of the one of the same id; without one, the queue as it is."""
        return self.changed(
            items=tuple(item if old.id == item.id else old for old in self.items)
        ).in_order()

    def without(self, item_id: str) -> "Queue":
        return self.changed(items=tuple(item for item in self.items if item.id != item_id))

    def in_order(self) -> "Queue":
        """Those that run first, then those that wait as they are; those that failed last, by number."""
        failed = sorted(self.of(ItemStatus.FAILED), key=lambda item: int(item.id[1:]))
        alive = (*self.of(ItemStatus.RUNNING), *self.of(ItemStatus.WAITING))
        return self.changed(items=(*alive, *failed))

    def to_json(self) -> dict[str, Any]:
        return {
            "items": [item.to_json() for item in self.items],
            "is_held": self.is_held,
            "held_because": self.held_because,
            "stops_on_failure": self.stops_on_failure,
            "last_number": self.last_number,
        }


@dataclass(frozen=True, slots=True)
class Removed:
    """What `put_back` needs to undo a removal."""

    item: QueueItem
    index: int
    spec_text: str


def queue_folder(home: Path) -> Path:
    return home / "queue"


def list_queue(home: Path) -> Queue:
    """The queue as it is; an empty one when there is none. Raises UserError when it cannot be read."""
    path = queue_folder(home) / "queue.json"
    try:
        path.lstat()
    except OSError:
        return Queue()
    try:
        return _read(read_json(path, limit=_LARGEST), path.parent)
    except UserError as error:
        raise UserError(
            error.message, where=str(path), hint="the specs lie beside it: add them again"
        ) from error


def enqueue(
    home: Path, spec: "AnySpec", model: str | None = None, preset: str | None = None
) -> QueueItem:
    """Put a spec at the end; nothing is checked or started. Raises UserError, WorkFailed.

    model, preset: for people, where the spec itself names none: of the run it works on.
    """
    from finetune_tui.core.tuning.task_spec import write_task_spec

    anchored = spec.anchored(Path.cwd())
    with changing(home) as change:
        if len(change.queue.items) >= _MOST:
            raise UserError(f"{_MOST} specs are in the queue already", where=str(change.folder))
        number = change.queue.last_number + 1
        path = change.folder / f"q{number}.yaml"
        item = QueueItem(
            id=f"q{number}",
            title=title_of(spec),
            path=path,
            task=spec.task,
            model=getattr(spec, "model_name_or_path", model),
            preset=getattr(spec, "preset", preset),
            gpus=spec.gpus,
            added=time.time(),
        )
        write_atomically(path, write_task_spec(anchored))
        items = (*change.queue.items, item)
        change.queue = change.queue.changed(items=items, last_number=number).in_order()
    return item


def move(home: Path, item_id: str, index: int) -> Queue:
    """Put a waiting item at this place among all as listed; never before one that runs. Raises UserError."""
    with changing(home) as change:
        item = change.queue.item(item_id)
        if item.status is not ItemStatus.WAITING:
            raise UserError(f"{item.id} does not wait: it {_words(item)}")
        items = [other for other in change.queue.items if other.id != item.id]
        items.insert(max(index, 0), item)
        change.queue = change.queue.changed(items=tuple(items)).in_order()
    return change.queue


def remove(home: Path, item_id: str) -> Removed:
    """Take an item out, with its spec; `put_back` undoes it. Raises UserError, also when it runs."""
    with changing(home) as change:
        item = change.queue.item(item_id)
        if item.status is ItemStatus.RUNNING:
            raise UserError(
                f"{item.id} runs as {item.run}", hint=f"`finetune-tui stop {item.run}` ends it"
            )
        try:
            text = item.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        removed = Removed(item, change.queue.items.index(item), text)
        change.queue = change.queue.without(item.id)
        change.unneeded.append(item.path)
    return removed


def put_back(home: Path, removed: Removed) -> Queue:
    """Undo a removal. Raises UserError when it is there already."""
    with changing(home) as change:
        if any(item.id == removed.item.id for item in change.queue.items):
            raise UserError(f"{removed.item.id} is in the queue")
        write_atomically(removed.item.path, removed.spec_text)
        items = list(change.queue.items)
        items.insert(removed.index, removed.item)
        change.queue = change.queue.changed(items=tuple(items)).in_order()
    return change.queue


def retry(home: Path, item_id: str) -> Queue:
    """Let an item that failed wait again, as the last, for a run of its own. Raises UserError."""
    with changing(home) as change:
        item = change.queue.item(item_id)
        if item.status is not ItemStatus.FAILED:
            raise UserError(f"{item.id} did not fail: it {_words(item)}")
        again = item.changed(status=ItemStatus.WAITING, run=None, why=None)
        items = (*change.queue.without(item.id).items, again)
        change.queue = change.queue.changed(items=items).in_order()
    return change.queue


def hold(home: Path) -> Queue:
    """Start no more; what runs goes on. Raises UserError."""
    with changing(home) as change:
        change.queue = change.queue.changed(is_held=True, held_because=None)
    return change.queue


def release(home: Path, stops_on_failure: bool | None = None) -> Queue:
    """Start again what waits. Raises UserError."""
    with changing(home) as change:
        change.queue = change.queue.changed(is_held=False, held_because=None)
        if stops_on_failure is not None:
            change.queue = change.queue.changed(stops_on_failure=stops_on_failure)
    return change.queue


def title_of(spec: "AnySpec") -> str:
    """What a person calls a spec: its name, else model and preset, else what is done to which run."""
    from finetune_tui.core.tuning.spec import Spec

    if spec.name:
        return plain(spec.name, 100)
    if not isinstance(spec, Spec):
        return plain(f"{spec.task} {spec.run.rstrip('/').rpartition('/')[2]}", 100)
    model = spec.model_name_or_path.rstrip("/").rpartition("/")[2]
    return plain(" · ".join(part for part in (model, spec.preset) if part), 100)


@dataclass(slots=True)
class Change:
    """queue: set it, and it is written. unneeded: files that go away once it is."""

    folder: Path
    queue: Queue
    unneeded: list[Path]


@contextlib.contextmanager
def changing(home: Path) -> Iterator[Change]:
    """Read, change and write the queue while nobody else does. Raises UserError, WorkFailed."""
    folder = queue_folder(home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a") as lock:
            with contextlib.suppress(
                OSError
            ):  # some network disks cannot lock; then the last one wins
                fcntl.flock(lock, fcntl.LOCK_EX)
            before = list_queue(home)
            change = Change(folder, before, [])
            yield change
            if change.queue != before:
                text = json.dumps(change.queue.to_json(), indent=1)
                write_atomically(folder / "queue.json", text + "\n")
            for path in change.unneeded:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise WorkFailed(
            f"the queue cannot be written ({error.strerror})", where=str(folder)
        ) from error


def _words(item: QueueItem) -> str:
    return {"waiting": "waits", "running": f"runs as {item.run}", "failed": "failed"}[item.status]


def _read(value: Any, folder: Path) -> Queue:
    """Raises UserError for what is no queue; an item that makes no sense is left out."""
    if not isinstance(value, dict) or not isinstance(value.get("items"), list):
        raise UserError("not a queue")
    items = [item for one in value["items"] if (item := _read_item(one, folder))]
    last = value.get("last_number")
    numbers = [int(item.id[1:]) for item in items]
    return Queue(
        items=tuple({item.id: item for item in items}.values()),
        is_held=value.get("is_held") is True,
        held_because=_text(value.get("held_because")),
        stops_on_failure=value.get("stops_on_failure") is True,
        last_number=max([last if type(last) is int and 0 <= last < 10**9 else 0, *numbers]),
    ).in_order()


def _read_item(value: Any, folder: Path) -> QueueItem | None:
    if not isinstance(value, dict):
        return None
    item_id, status, gpus = (value.get(key) for key in ("id", "status", "gpus"))
    if not isinstance(item_id, str) or not _is_id(item_id) or status not in set(ItemStatus):
        return None
    return QueueItem(
        id=item_id,
        title=_text(value.get("title")) or item_id,
        path=folder / f"{item_id}.yaml",
        task=_text(value.get("task")) or "train",
        model=_text(value.get("model")),
        preset=_text(value.get("preset")),
        gpus=tuple(gpu for gpu in gpus if isinstance(gpu, str)) if isinstance(gpus, list) else (),
        status=ItemStatus(status),
        run=_text(value.get("run")),
        why=_text(value.get("why")),
        added=_seconds(value.get("added")),
    )


def _is_id(text: str) -> bool:
    return text[:1] == "q" and text[1:].isascii() and text[1:].isdigit() and len(text) < 11


def _seconds(value: Any) -> float:
    is_time = isinstance(value, int | float) and 0 <= value < 1e12
    return float(value) if is_time else 0.0


def _text(value: Any) -> str | None:
    return plain(value, 500) if isinstance(value, str) else None
