"""The sending itself, as a call: huggingface_hub in a process that can be ended at any moment. No torch.

A file goes as an open file, which huggingface_hub takes over plain HTTP in place of Xet: only that can be
counted, and be tried against a Hub on this machine. It waits for ever for a server that is silent, so
whoever started the call watches the bytes.
"""

import contextlib
import io
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.export.push_errors import AGAIN, cut, refused_push
from finetune_tui.core.models.hub_account import Refused, look_at, said_by_hub, unreachable
from finetune_tui.core.models.hub_http import endpoint_of, find_token, reason_of
from finetune_tui.core.text import plain

MAKING = "looking at the repository"
READING = "reading what to send"
SENDING = "sending"
COMMITTING = "committing"

_MESSAGE = "Add what was trained with finetune-tui"
_EVERY = 0.4  # seconds between two words
_NO_IGNORES = "# every file of an export is wanted\n"


def push_call(params: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> Any:
    """Send files as one commit: {"commit", "sha256": {name: hex}}.

    params: folder, files (names in it), repo, exists, private. Raises UserError or WorkFailed.
    """
    os.environ |= {f"HF_HUB_DISABLE_{what}": "1" for what in ("XET", "PROGRESS_BARS", "TELEMETRY")}
    repo, folder, names = params["repo"], Path(params["folder"]), params["files"]
    with ExitStack() as open_files, _Pulse(progress) as pulse:
        files = [open_files.enter_context(_CountedFile(folder / name, pulse)) for name in names]
        pulse.total = sum(file.size for file in files)
        try:
            return _send(repo, params["exists"], params["private"], names, files, pulse)
        except UserError:
            raise
        except Refused as refused:
            raise refused_push(refused, repo, os.environ) from refused
        except Exception as error:
            raise _in_words(error, repo) from error


def _send(
    repo: str,
    exists: bool,
    private: bool,
    names: Sequence[str],
    files: "Sequence[_CountedFile]",
    pulse: "_Pulse",
) -> dict[str, Any]:
    from huggingface_hub import CommitOperationAdd, HfApi

    token, _ = find_token(os.environ)
    hub = HfApi(
        endpoint=endpoint_of(os.environ),
        token=token,
        library_name="finetune-tui",
        library_version=version("finetune-tui"),
    )
    if not exists:
        hub.create_repo(repo, private=private, exist_ok=True)
    if private:
        _require_private(repo)
    pulse.begin(READING)
    added = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=file)
        for name, file in zip(names, files, strict=True)
    ]
    pulse.begin(SENDING)
    # Before the commit, and with rules of our own: a .gitignore that lies there would drop weights silently.
    once = {operation.upload_info.sha256: operation for operation in added}
    send = partial(hub.preupload_lfs_files, repo, gitignore_content=_NO_IGNORES, free_memory=False)
    send(once.values())  # at the same time: two files of one content would be one open file
    send(added, num_threads=1)
    pulse.begin(COMMITTING)
    commit = hub.create_commit(repo, operations=added, commit_message=_MESSAGE)
    hashes = (operation.upload_info.sha256.hex() for operation in added)
    return {"commit": commit.oid, "sha256": dict(zip(names, hashes, strict=True))}


def _require_private(repo: str) -> None:
    """Somebody may have made it, or opened it, a moment ago."""
    found = look_at(repo)
    if found is not None and found.private is False:
        raise UserError(
            "is public, and this was to be private", where=repo, hint="choose another name"
        )


class _CountedFile(io.BufferedReader):
    """A file that knows how far it has been read."""

    def __init__(self, path: Path, pulse: "_Pulse") -> None:
        super().__init__(io.FileIO(path, "rb"), 2**20)
        self.size = os.fstat(self.fileno()).st_size
        self._name, self._pulse = path.name, pulse

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._pulse.read(self._name, self.tell())
        return data


class _Pulse:
    """Tells some times a second how far it is; when nobody listens any more, the process ends."""

    def __init__(self, progress: Callable[[dict[str, Any]], None]) -> None:
        self.total = 0
        self._phase = MAKING
        self._progress = progress
        self._telling = threading.Lock()
        self._done: dict[str, int] = {}
        self._file = ""
        self._trouble = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._ear = _Ear(self)

    def __enter__(self) -> "_Pulse":
        logging.getLogger("huggingface_hub").addHandler(self._ear)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        logging.getLogger("huggingface_hub").removeHandler(self._ear)

    def begin(self, phase: str) -> None:
        """Told at once: after a commit that failed, the one who asked looks whether it came through."""
        with self._telling:
            self._phase, self._done, self._file, self._trouble = phase, {}, "", ""
            self._tell()

    def read(self, file: str, position: int) -> None:
        self._file, self._trouble = file, ""
        self._done[file] = position

    def heard(self, trouble: str) -> None:
        self._trouble = trouble

    def _beat(self) -> None:
        while not self._over.wait(_EVERY):
            with self._telling:
                self._tell()

    def _tell(self) -> None:
        words = {
            "phase": self._phase,
            "done": sum(list(self._done.values())),
            "total": self.total,
            "file": self._file,
            "trouble": self._trouble,
        }
        try:
            self._progress(words)
        except OSError:  # the one who asked is gone: nothing may be committed after that
            os._exit(1)


class _Ear(logging.Handler):
    """What huggingface_hub says of its own repeated tries, without the addresses it names."""

    def __init__(self, pulse: _Pulse) -> None:
        super().__init__(logging.WARNING)
        self._pulse = pulse

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if found := re.search(r"HTTP Error (\d{3}) thrown", words):
            self._pulse.heard(found[1])
        elif "thrown while requesting" in words:
            self._pulse.heard("broken")


def _in_words(error: Exception, repo: str) -> UserError:
    """What huggingface_hub raised, in one line that names no address and no token."""
    chain = list(_chain(error))
    first = said_by_hub((str(error).strip().splitlines() or [""])[-1], os.environ)
    if "metadata in README.md" in str(error):
        return WorkFailed(f"the Hub does not take the card's header ({first})", where=repo)
    for one in chain:
        response = getattr(one, "response", None)
        if isinstance(getattr(response, "status_code", None), int):
            return refused_push(_refused(response, one), repo, os.environ)
    for one in chain:
        if any(kind.__name__ == "TransportError" for kind in type(one).__mro__):
            return _broken(one, chain, repo)
    if isinstance(error, OSError):
        what = plain(str(error.filename or "a file"), 120)
        return WorkFailed(f"cannot be read ({error.strerror or type(error).__name__})", where=what)
    if "LFS batch" in str(error):
        return WorkFailed(f"the Hub refuses a file ({first})", where=repo, hint=AGAIN)
    return WorkFailed(
        f"what the Hub answers is not understood ({type(error).__name__}: {first})",
        where=repo,
        hint=f"look at HF_ENDPOINT and for a newer huggingface_hub; {AGAIN}",
    )


def _refused(response: Any, error: BaseException) -> Refused:
    headers: Mapping[str, str] = response.headers
    said = headers.get("X-Error-Message") or getattr(error, "server_message", None) or ""
    return Refused(
        response.status_code, headers.get("X-Error-Code") or "", said_by_hub(said, os.environ)
    )


def _broken(error: BaseException, chain: Sequence[BaseException], repo: str) -> WorkFailed:
    system = [one for one in chain if isinstance(one, OSError)]
    why = reason_of(system[-1]) if system else type(error).__name__
    if "Timeout" in why:
        why = "no answer"
    elif "Protocol" in why:
        why = "it ended early"
    if type(error).__name__ == "ConnectError":
        return unreachable(why, os.environ)
    return cut(why, repo)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the first cause last."""
    at: BaseException | None = error
    for _ in range(20):
        if at is None:
            return
        yield at
        with contextlib.suppress(AttributeError):
            at = at.__cause__ or at.__context__
