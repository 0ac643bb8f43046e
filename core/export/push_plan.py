"""What a push would send, where to, and who could see it: asked of the Hub, nothing written. No torch."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_tui.core.errors import UserError
from finetune_tui.core.export.push_errors import refused_push
from finetune_tui.core.models.hub_account import (
    Account,
    Refused,
    Remote,
    look_at,
    require_login,
    who_am_i,
)
from finetune_tui.core.models.hub_http import endpoint_of
from finetune_tui.core.text import plain, size

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(rf"(?:{_PART}/)?{_PART}")


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that goes there. bytes: its size. replaces: one of that name is there already."""

    name: str
    bytes: int
    replaces: bool


@dataclass(frozen=True, slots=True)
class PushPlan:
    """Everything a person should know before the first byte leaves.

    repo: owner/name. private: as it will be seen, which for one that exists is as it is. others: files
    of the repository that stay as they are.
    """

    repo: str
    url: str
    account: Account
    exists: bool
    private: bool
    files: tuple[SentFile, ...]
    others: int

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def seen_by(self) -> str:
        """'private: ann alone sees it', 'public: everybody sees it'."""
        if not self.private:
            return "public: everybody sees it"
        owner = self.repo.partition("/")[0]
        if owner == self.account.name:
            return f"private: {owner} alone sees it"
        return f"private: members of {owner} see it"

    def facts(self) -> tuple[tuple[str, str], ...]:
        """A word and what it is, for people: where to, as whom, how much, what stays."""
        replaced = sum(file.replaces for file in self.files)
        new = len(self.files) - replaced
        parts = [f"{new} new"] * bool(new) + [f"{replaced} in place of the old"] * bool(replaced)
        there = "is there already" if self.exists else "will be made"
        stay = [("stay", f"{_files(self.others)} of the repository, as they are")]
        return (
            ("to", plain(self.url, 200)),
            ("", f"{there}, {self.seen_by}"),
            (
                "as",
                f"{self.account.name}, token from {self.account.token_from}, {self.account.rights}",
            ),
            ("send", f"{_files(len(self.files))}, {size(self.bytes)}: {', '.join(parts)}"),
            *(stay if self.others else ()),
        )

    def lines(self) -> tuple[str, ...]:
        """For a terminal, 80 columns where the names allow it."""
        width = min(max((len(file.name) for file in self.files), default=0), 50)
        lines = []
        for word, fact in self.facts():
            lines.append(f"{word:<6}{fact}")
            if word == "send":
                for file in self.files:
                    mark = "  replaces" if file.replaces else ""
                    lines.append(
                        f"      {plain(file.name, 50):<{width}} {size(file.bytes):>7}{mark}"
                    )
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "url": self.url,
            "account": self.account.name,
            "exists": self.exists,
            "private": self.private,
            "bytes": self.bytes,
            "files": [
                {"name": file.name, "bytes": file.bytes, "replaces": file.replaces}
                for file in self.files
            ],
            "others": self.others,
        }


def check_push(repo: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raises UserError when nothing can be sent there, as far as can be known without asking the Hub."""
    read_repo(repo)
    require_login(environment)


def read_repo(repo: str) -> str:
    """`owner/name`, or a `name` alone. Raises UserError."""
    repo = repo.strip()
    bad = "--" in repo or ".." in repo or repo.endswith(".git")
    if bad or len(repo) > 96 or not _REPO.fullmatch(repo):
        raise UserError(
            f"'{plain(repo, 80)}' is no name for a repository",
            where="push_to",
            hint="OWNER/NAME or NAME, of letters, digits, '-', '_' and '.'",
        )
    return repo


def plan_push(
    files: Mapping[str, int],
    repo: str,
    private: bool,
    environment: Mapping[str, str] = os.environ,
) -> PushPlan:
    """What would be sent; two or three requests that change nothing.

    files: name → bytes. private: what it shall be. Raises UserError (no login, a token that may not
    write, somebody else's repository, a public one that should be private) and WorkFailed.
    """
    check_push(repo, environment)
    account = who_am_i(environment)
    name = read_repo(repo)
    full = name if "/" in name else f"{account.name}/{name}"
    _require_rights(account, full, environment)
    try:
        found = look_at(full, environment)
    except Refused as refused:
        raise refused_push(refused, full, environment) from refused
    if found is not None:
        _require_agreement(found, full, private)
    there = found.files if found else {}
    sent = tuple(SentFile(name, count, name in there) for name, count in sorted(files.items()))
    return PushPlan(
        repo=full,
        url=f"{endpoint_of(environment)}/{full}",
        account=account,
        exists=found is not None,
        private=private if found is None or found.private is None else found.private,
        files=sent,
        others=sum(name not in files for name in there),
    )


def _require_rights(account: Account, repo: str, environment: Mapping[str, str]) -> None:
    owner, _, name = repo.partition("/")
    tokens = f"{endpoint_of(environment)}/settings/tokens"
    if account.may_write is False:
        raise UserError(
            f"the token from {account.token_from} may only read",
            where=repo,
            hint=f"make one that may write at {tokens}, then `hf auth login`",
        )
    if account.writes_to is not None and not {owner, repo} & set(account.writes_to):
        raise UserError(
            f"the token from {account.token_from} {account.rights}, not to this",
            where=repo,
            hint=f"give it that right at {tokens}",
        )
    known = account.organizations
    if known is not None and owner not in (account.name, *known):
        raise UserError(
            f"{owner} is neither you ({account.name}) nor an organization of yours",
            where=repo,
            hint=f"{account.name}/{name} would be yours",
        )


def _require_agreement(found: Remote, repo: str, private: bool) -> None:
    if found.disabled:
        raise UserError("the Hub has disabled this repository", where=repo)
    if private and found.private is False:
        raise UserError(
            "is there already and public, and this was to be private",
            where=repo,
            hint="choose another name, or say that it may be public",
        )


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
