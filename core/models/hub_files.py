"""Files of one repository on the Hub into the Hub's own cache: in bytes, cancellable, resumed. No torch.

Written on the standard library. huggingface_hub (2.4) deletes a cut file when its process ends and
repeats for 45 s without a network; here a half file stays as `blobs/ETAG.incomplete`, goes on with the
next start, and is checked against its sha256. The layout and the locks are huggingface_hub's, so that
Transformers finds what is here and both may run at once.

HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are honoured. The token
goes into one header to the Hub's own host, and nowhere else.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.files import write_atomically
from finetune_tui.core.models.hub_http import Broken, Hub, Kind
from finetune_tui.core.models.weights import hub_cache, is_hub_id
from finetune_tui.core.text import plain, size

_CHUNK = 2**20
_TRIES = 3  # without a byte in between; a connection that still brings some may break any number of times
_ROOM_LEFT = 64 * 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Progress:
    """done, total: bytes of the whole download, what was here before included.

    rate: bytes per second lately, None at first. file: the one under way.
    """

    done: int
    total: int
    rate: float | None
    file: str

    @property
    def words(self) -> str:
        """'3.1G of 5.2G, 84.0M/s: model-00002-of-00002.safetensors'."""
        rate = f", {size(self.rate)}/s" if self.rate else ""
        return f"{size(self.done)} of {size(self.total)}{rate}: {plain(self.file, 60)}"


OnProgress = Callable[[Progress], None]
"""Called some times a second. What it raises ends the download; what has come stays."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository: its size in bytes, and the name of its content (a sha256 for large ones)."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository's files at one commit. known: those whose size the list says."""

    commit: str
    names: tuple[str, ...]
    known: Mapping[str, RemoteFile]


class Download:
    """Files of one repository into the cache, each under a lock."""

    def __init__(self, name: str, environment: Mapping[str, str], kind: Kind = "model") -> None:
        if not is_hub_id(name):
            raise UserError(f"'{plain(name, 80)}' is not an id on the Hub", hint="owner/name")
        self.name = name
        self._hub = Hub(name, environment, kind)
        self._cache = hub_cache(environment)
        self.folder = self._cache / f"{kind}s--{name.replace('/', '--')}"

    @cached_property
    def remote(self) -> Remote:
        """What the Hub says of it at `main`: commit, files, sizes. One request."""
        info = self._hub.info()
        commit = str(info.get("sha") or "")
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise WorkFailed("names no commit, so this is not a Hub", where=self._hub.endpoint)
        siblings = info.get("siblings")
        listed = [entry for entry in siblings or () if isinstance(entry, dict)]
        known = {file.name: file for entry in listed if (file := _listed(entry)) is not None}
        names = (entry.get("rfilename") for entry in listed)
        plain_names = [name for name in names if isinstance(name, str) and _is_plain(name)]
        return Remote(commit, tuple(sorted(plain_names)), known)

    @property
    def snapshot(self) -> Path:
        return self.folder / "snapshots" / self.remote.commit

    def file(self, name: str) -> RemoteFile:
        """Size and content name; asked for when the list does not say them."""
        found = self.remote.known.get(name)
        if found is None:
            found = RemoteFile(name, *self._hub.size_and_etag(self.remote.commit, name))
        return found

    def bounded(self, file: RemoteFile, most: int) -> RemoteFile:
        """The file, unless it has more than `most` bytes: then UserError."""
        if file.size > most:
            raise UserError(f"{file.name} has {size(file.size)}: not fetched", where=self.name)
        return file

    def check_room(self, files: list[RemoteFile]) -> None:
        need = sum(file.size - self._have(file) for file in files)
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        if need and need + _ROOM_LEFT > free:
            raise UserError(
                f"{size(need)} to download, {size(free)} free on this disk",
                where=str(self._cache),
                hint="make room, or set HF_HOME to a folder on a larger disk",
            )

    def take(self, *files: RemoteFile, on_progress: OnProgress | None = None) -> None:
        """Have these files in the snapshot."""
        meter = _Meter(sum(file.size for file in files), on_progress)
        with self._writing():
            (self.folder / "blobs").mkdir(parents=True, exist_ok=True)
            self.snapshot.mkdir(parents=True, exist_ok=True)
            for file in files:
                with self._lock(file, meter):
                    self._take(file, meter)
            (self.folder / "refs").mkdir(exist_ok=True)
            write_atomically(self.folder / "refs" / "main", self.remote.commit, durable=False)

    def _take(self, file: RemoteFile, meter: "_Meter") -> None:
        blob, pointer = self.folder / "blobs" / file.etag, self.snapshot / file.name
        if _is_whole(pointer, file):
            return meter.add(file.size, file.name, is_new=False)
        if _is_whole(blob, file):
            meter.add(file.size, file.name, is_new=False)
        else:
            half = blob.with_name(f"{file.etag}.incomplete")
            self._fill(file, half, meter)
            half.replace(blob)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)  # it may point to nothing
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:  # a file system without links
            blob.replace(pointer)
        return None

    def _fill(self, file: RemoteFile, half: Path, meter: "_Meter") -> None:
        """Bring a half file to its whole length, over as many connections as it takes."""
        with half.open("ab+") as out:
            digest = self._begun(out, file, meter)
            tries = 0
            while (have := out.tell()) < file.size:
                why = "the connection ended early"
                try:
                    for chunk in self._hub.read(self.remote.commit, file.name, have, file.size):
                        out.write(chunk)
                        digest.update(chunk)
                        meter.add(len(chunk), file.name)
                except Broken as broken:
                    why = broken.words
                tries = 0 if out.tell() > have else tries + 1
                if tries >= _TRIES:
                    raise self._cut(file, out.tell(), why)
                if tries:
                    time.sleep(1)
            os.fsync(out.fileno())
        if _SHA256.fullmatch(file.etag) and digest.hexdigest() != file.etag:
            half.unlink()
            raise WorkFailed(
                f"{file.name} arrived with other content than the Hub announces",
                where=self.name,
                hint="start again; if it stays so, a proxy on the way changes it",
            )

    def _begun(self, out: BinaryIO, file: RemoteFile, meter: "_Meter") -> Any:
        """The digest of what an earlier download left, with `out` at its end."""
        digest = hashlib.sha256()
        out.seek(0, os.SEEK_END)
        if out.tell() > file.size:
            out.truncate(0)
        out.seek(0)
        while chunk := out.read(_CHUNK):
            digest.update(chunk)
            meter.add(len(chunk), file.name, is_new=False)
        return digest

    def _have(self, file: RemoteFile) -> int:
        """Bytes of a file that are on the disk already."""
        blob = self.folder / "blobs" / file.etag
        for path in (self.snapshot / file.name, blob, blob.with_name(f"{file.etag}.incomplete")):
            if path.is_file():
                return min(path.stat().st_size, file.size)
        return 0

    def _cut(self, file: RemoteFile, have: int, why: str) -> WorkFailed:
        return WorkFailed(
            f"cut at {size(have)} of {size(file.size)} of {file.name} ({why})",
            where=self._hub.endpoint,
            hint="what came is kept: the next start goes on from there",
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What goes wrong with the disk, in one line."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise WorkFailed(
                    "the disk is full",
                    where=str(self._cache),
                    hint="make room, or set HF_HOME to a larger disk; what came is kept",
                ) from error
            why = error.strerror or type(error).__name__
            raise WorkFailed(f"cannot be written ({why})", where=str(self._cache)) from error

    @contextmanager
    def _lock(self, file: RemoteFile, meter: "_Meter") -> Iterator[None]:
        """huggingface_hub's own lock for this content: two downloads never write one file."""
        folder = self._cache / ".locks" / self.folder.name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{file.etag}.lock").open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    meter.tell(f"{file.name} (waiting: another process is fetching it)")
                    time.sleep(0.2)
            yield


@dataclass(slots=True)
class _Meter:
    """Counts bytes and tells them a few times a second."""

    total: int
    on_progress: OnProgress | None
    done: int = 0
    _told: float = 0.0
    _new: list[tuple[float, int]] = field(default_factory=list)

    def add(self, count: int, file: str, is_new: bool = True) -> None:
        self.done += count
        now = time.monotonic()
        if is_new:
            self._new.append((now, count))
        if now - self._told >= 0.25 or self.done >= self.total:
            self.tell(file)

    def tell(self, file: str) -> None:
        self._told = now = time.monotonic()
        self._new = [(at, count) for at, count in self._new if now - at < 10]
        if self.on_progress is not None:
            span = now - self._new[0][0] if self._new else 0
            rate = sum(count for _, count in self._new) / span if span > 0.2 else None
            self.on_progress(Progress(min(self.done, self.total), self.total, rate, file))


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _is_plain(name: str) -> bool:
    """A name that leads nowhere else: no part of it begins with a dot."""
    part = r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,200}"
    return bool(re.fullmatch(rf"{part}(/{part}){{0,8}}", name))


def _listed(entry: Mapping[str, Any]) -> RemoteFile | None:
    """A file of the Hub's list, when the list says its size and content."""
    large = entry.get("lfs")
    etag = large.get("sha256") or large.get("oid") if isinstance(large, dict) else None
    etag = etag or entry.get("blobId")
    name, length = entry.get("rfilename"), entry.get("size")
    if not isinstance(name, str) or not isinstance(etag, str) or type(length) is not int:
        return None
    if not _is_plain(name) or not re.fullmatch(r"[A-Za-z0-9]{8,128}", etag) or length < 0:
        return None
    return RemoteFile(name, length, etag)
