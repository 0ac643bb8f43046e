"""Send a folder to the Hub as one commit: counted, stoppable, and there is all of it or nothing. No torch."""

import hashlib
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_tui.core.calls.client import CallProcess
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.export.push_call import COMMITTING, MAKING
from finetune_tui.core.export.push_errors import AGAIN, refused_push
from finetune_tui.core.export.push_plan import PushPlan, plan_push
from finetune_tui.core.models.hub_account import Refused, Remote, look_at, unclear
from finetune_tui.core.models.hub_files import Progress
from finetune_tui.core.text import plain, size

SILENCE = 60.0
"""Seconds without a byte or an answer, after which the Hub counts as stalled."""
SILENCE_AT_COMMIT = 300.0
_NO_WORD = 120.0  # seconds until the other process is given up: it speaks twice a second
_WORDS_EVERY = 1.0

Say = Callable[[str, int | None, int | None, str | None], None]
"""The phase; bytes done of all; words."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """Where it is now. bytes: of all files, those that were there already included."""

    repo: str
    url: str
    commit: str
    files: int
    bytes: int
    private: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "url": self.url,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
            "private": self.private,
        }


def push(folder: Path, repo: str, private: bool, say: Say, check: Callable[[], None]) -> PushResult:
    """Send every file of the folder; they are there after one commit at the end, or not at all.

    Other files of the repository stay. say: told about once a second. check: called all the time, also
    within a file; what it raises ends the push. Raises UserError and WorkFailed, one line each; a second
    push sends only what has not arrived.
    """
    files = files_of(folder)
    say(MAKING, None, None, None)
    plan = plan_push(files, repo, private)
    check()
    watch = _Watch(plan.repo, say, check)
    try:
        sent = _call(folder, plan, watch)
    except WorkFailed:
        # A commit whose answer was lost may have come through.
        commit = _landed(folder, plan) if watch.phase == COMMITTING else None
        if commit is None:
            raise
    else:
        commit = str(sent["commit"])
        _require_all(plan, commit, sent["sha256"], folder)
    return PushResult(plan.repo, plan.url, commit, len(files), plan.bytes, plan.private)


def files_of(folder: Path) -> dict[str, int]:
    """What a push sends: name → bytes. Hidden files and links stay here. Raises UserError for nothing."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    files = {name: count for name, count in names.items() if not re.search(r"(^|/)\.", name)}
    if not files:
        raise UserError("there is nothing in it to send", where=str(folder))
    return files


def _call(folder: Path, plan: PushPlan, watch: "_Watch") -> dict[str, Any]:
    params = {
        "folder": str(folder),
        "files": [file.name for file in plan.files],
        "repo": plan.repo,
        "exists": plan.exists,
        "private": plan.private,
    }
    with CallProcess() as process:
        answer: dict[str, Any] = process.call(
            "push", params, watch.heard, timeout=_NO_WORD, renewed=True
        )
    return answer


class _Watch:
    """Hears how far it is, tells it on, and ends what does not move."""

    def __init__(self, repo: str, say: Say, check: Callable[[], None]) -> None:
        self.phase = MAKING
        self._repo, self._say, self._check = repo, say, check
        self._done = 0
        self._moved = self._told = time.monotonic()
        self._lately: deque[tuple[float, int]] = deque()

    def heard(self, words: Mapping[str, Any]) -> None:
        self._check()
        now, phase, done = time.monotonic(), str(words["phase"]), int(words["done"])
        is_new = phase != self.phase
        if is_new:
            self._lately.clear()
        if is_new or done != self._done:
            self.phase, self._done, self._moved = phase, done, now
        patience = SILENCE_AT_COMMIT if phase == COMMITTING else SILENCE
        if now - self._moved > patience:
            raise self._stalled(str(words["trouble"]), patience)
        if is_new or now - self._told >= _WORDS_EVERY:
            self._told = now
            self._tell(words, now)

    def _tell(self, words: Mapping[str, Any], now: float) -> None:
        total = int(words["total"])
        if self.phase in (MAKING, COMMITTING):
            return self._say(self.phase, None, None, _trouble(str(words["trouble"])) or None)
        self._lately.append((now, self._done))
        while now - self._lately[0][0] > 10:
            self._lately.popleft()
        began, then = self._lately[0]
        rate = max(self._done - then, 0) / (now - began) if now - began > 0.5 else None
        told = Progress(self._done, total, rate, str(words["file"]) or "beginning").words
        trouble = _trouble(str(words["trouble"]))
        return self._say(self.phase, self._done, total, f"{told}; {trouble}" if trouble else told)

    def _stalled(self, trouble: str, patience: float) -> WorkFailed:
        if trouble.isdecimal():
            return _again(unclear(Refused(int(trouble)), os.environ))
        return WorkFailed(
            f"nothing moved for {patience:.0f} s, at {size(self._done)} of {self.phase}",
            where=self._repo,
            hint=AGAIN,
        )


def _trouble(trouble: str) -> str:
    """Why huggingface_hub tries again, for people."""
    if not trouble:
        return ""
    said = "the connection broke" if trouble == "broken" else f"the Hub answered {trouble}"
    return f"{said}, trying again"


def _again(failed: WorkFailed) -> WorkFailed:
    return WorkFailed(failed.message, where=failed.where, hint=AGAIN)


def _landed(folder: Path, plan: PushPlan) -> str | None:
    """The newest commit there, when it holds every file as it is here."""
    try:
        found = look_at(plan.repo)
    except (Refused, UserError):
        return None
    if found is None or _different(plan, found, {}, folder):
        return None
    return found.commit


def _require_all(plan: PushPlan, commit: str, hashes: Mapping[str, str], folder: Path) -> None:
    """Raises WorkFailed when the commit does not hold what was sent; an answer that is lost is no proof."""
    try:
        found = look_at(plan.repo, revision=commit)
    except Refused as refused:
        if refused.status < 500 and refused.status != 429:
            raise refused_push(refused, plan.repo, os.environ) from refused
        return
    except WorkFailed:
        return
    if found is not None and (wrong := _different(plan, found, hashes, folder)):
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise WorkFailed(
            f"the Hub took it without {plain(wrong[0], 60)}{more}", where=plan.repo, hint=AGAIN
        )


def _different(plan: PushPlan, found: Remote, hashes: Mapping[str, str], folder: Path) -> list[str]:
    """Files of ours that are not there as they are here. hashes: sha256 of those that were read already."""
    wrong = []
    for file in plan.files:
        count, content = found.files.get(file.name, (-1, None))
        same = count in (None, file.bytes)
        if same and content is not None and len(content) == 64:
            same = content == (hashes.get(file.name) or _sha256(folder / file.name))
        elif same and content is not None and len(content) == 40:
            same = content == _git_hash(folder / file.name)
        if not same:
            wrong.append(file.name)
    return wrong


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_hash(path: Path) -> str:
    """The name git gives a file's content; only small files are kept so."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
