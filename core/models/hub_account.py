"""Who the Hub takes us for, and what a repository holds: asked, never written. No torch."""

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.hub_http import (
    TIMEOUT,
    endpoint_of,
    find_token,
    is_offline,
    opener,
    reason_of,
)
from finetune_tui.core.text import plain

_MOST = 32 * 2**20  # bytes of an answer


class TokenRefused(UserError):
    """There is a token, and the Hub does not take it."""


Role = Literal["read", "write", "fine-grained"]
_ROLES: Mapping[str, Role] = {"read": "read", "write": "write", "fineGrained": "fine-grained"}


class Refused(Exception):  # what it means is for the one who asked to say
    """The Hub answered with an error. status: HTTP's; code, said: its own words as a line, or ''."""

    def __init__(self, status: int, code: str = "", said: str = "") -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.said = status, code, said


@dataclass(frozen=True, slots=True)
class Account:
    """Whose token it is, and what that token may do.

    organizations: those the person belongs to, None: not said. role: None: not said. writes_to: the
    accounts and repositories a fine-grained token may write to; None for every other token.
    """

    name: str
    organizations: tuple[str, ...] | None
    role: Role | None
    writes_to: tuple[str, ...] | None
    token_from: str

    @property
    def may_write(self) -> bool | None:
        """Whether the token may write anywhere; None: not said."""
        if self.writes_to is not None:
            return bool(self.writes_to)
        return None if self.role is None else self.role == "write"

    @property
    def rights(self) -> str:
        """For people: 'may write', 'may only read', 'writes to ann'."""
        if self.writes_to:
            return f"writes to {plain(', '.join(self.writes_to), 60)}"
        return {True: "may write", False: "may only read", None: "rights not said"}[self.may_write]


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository as it is now. files: name → (size in bytes, name of the content), None: not said."""

    commit: str
    private: bool | None
    disabled: bool
    files: Mapping[str, tuple[int | None, str | None]]


def require_login(environment: Mapping[str, str] = os.environ) -> str:
    """The token. Raises UserError: offline, or nobody is logged in."""
    if is_offline(environment):
        raise UserError(
            "HF_HUB_OFFLINE forbids to speak to the Hub", hint="unset HF_HUB_OFFLINE first"
        )
    token, _ = find_token(environment)
    if token is None:
        raise UserError(
            "no login for the Hub", hint="`hf auth login`, or HF_TOKEN with a token that may write"
        )
    return token


def who_am_i(environment: Mapping[str, str] = os.environ) -> Account:
    """One request. Raises UserError (offline, no login, the token is not accepted) or WorkFailed."""
    require_login(environment)
    _, token_from = find_token(environment)
    try:
        found = ask("/api/whoami-v2", environment)
    except Refused as refused:
        if refused.status == 401:
            raise TokenRefused(
                f"the Hub does not accept the token from {token_from}",
                where=endpoint_of(environment),
                hint="`hf auth login` makes a new one",
            ) from refused
        raise unclear(refused, environment) from refused
    return _account(found, token_from, environment)


def look_at(
    repo: str, environment: Mapping[str, str] = os.environ, revision: str = "main"
) -> Remote | None:
    """The repository, None when there is none that we may see. Raises Refused and WorkFailed."""
    path = f"/api/models/{urllib.parse.quote(repo)}/revision/{urllib.parse.quote(revision)}"
    try:
        return _remote(ask(f"{path}?blobs=true", environment))
    except Refused as refused:
        if refused.code == "RevisionNotFound":  # made, and nothing was ever written to it
            return _remote(ask(f"/api/models/{urllib.parse.quote(repo)}", environment))
        if refused.status == 404:
            return None
        raise


def ask(path: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """What the Hub answers to a GET. Raises Refused, or WorkFailed when it cannot be reached."""
    endpoint = endpoint_of(environment)
    if not endpoint.startswith(("https://", "http://")):
        raise UserError("does not begin with https://", where="HF_ENDPOINT")
    headers = {"User-Agent": f"finetune-tui/{version('finetune-tui')}"}
    token, _ = find_token(environment)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(endpoint + path, headers=headers)
        with opener().open(request, timeout=TIMEOUT) as answer:
            found = json.loads(answer.read(_MOST))
    except urllib.error.HTTPError as error:
        with error:
            code = error.headers.get("X-Error-Code") or ""
            said = said_by_hub(error.headers.get("X-Error-Message") or "", environment)
            raise Refused(error.code, code, said) from error
    except (ValueError, RecursionError) as error:
        raise _not_a_hub(environment) from error
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(reason_of(error), environment) from error
    if not isinstance(found, dict):
        raise _not_a_hub(environment)
    return found


def said_by_hub(text: str, environment: Mapping[str, str]) -> str:
    """Its words as a line, never with our token in it: some proxies repeat what they were sent."""
    token, _ = find_token(environment)
    return plain(text.replace(token, "…") if token else text, 200)


def host_of(environment: Mapping[str, str]) -> str:
    """The Hub's host and port, without a password that somebody wrote into its address."""
    return plain(urllib.parse.urlsplit(endpoint_of(environment)).netloc.rpartition("@")[2], 80)


def unreachable(why: str, environment: Mapping[str, str]) -> WorkFailed:
    """why: in a few words."""
    return WorkFailed(
        f"{host_of(environment)} cannot be reached ({why})",
        hint="look at the network and the proxy; HF_ENDPOINT names another Hub",
    )


def unclear(refused: Refused, environment: Mapping[str, str]) -> WorkFailed:
    """An answer that says nothing about the request: too many of them, or the Hub itself is unwell."""
    if refused.status == 429:
        return WorkFailed(
            "too many requests", where=host_of(environment), hint="try again in some minutes"
        )
    said = f" ({refused.said})" if refused.said else ""
    return WorkFailed(
        f"the Hub answers {refused.status}{said}",
        where=host_of(environment),
        hint="try again later",
    )


def _not_a_hub(environment: Mapping[str, str]) -> WorkFailed:
    return WorkFailed(
        "answers, but not as a Hub",
        where=host_of(environment),
        hint="look at HF_ENDPOINT and the proxy",
    )


def _account(found: Mapping[str, Any], token_from: str, environment: Mapping[str, str]) -> Account:
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise _not_a_hub(environment)
    organizations = found.get("orgs")
    token = _mapping(_mapping(found.get("auth")).get("accessToken"))
    return Account(
        name=plain(name, 96),
        organizations=_names(organizations) if isinstance(organizations, list) else None,
        role=_ROLES.get(str(token.get("role"))),
        writes_to=_writes_to(token),
        token_from=token_from,
    )


def _writes_to(token: Mapping[str, Any]) -> tuple[str, ...] | None:
    if token.get("role") != "fineGrained":
        return None
    rights = _mapping(token.get("fineGrained"))
    scopes = rights.get("scoped")
    writing = [
        scope.get("entity")
        for scope in (scopes if isinstance(scopes, list) else ())
        if isinstance(scope, dict) and "repo.write" in (scope.get("permissions") or ())
    ]
    return _names(writing)


def _names(entries: list[Any]) -> tuple[str, ...]:
    names = (_mapping(entry).get("name") for entry in entries)
    return tuple(plain(name, 96) for name in names if isinstance(name, str))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _remote(info: Mapping[str, Any]) -> Remote:
    siblings = info.get("siblings")
    files: dict[str, tuple[int | None, str | None]] = {}
    for entry in siblings if isinstance(siblings, list) else ():
        name = _mapping(entry).get("rfilename")
        if isinstance(name, str):
            size = entry.get("size")
            content = _mapping(entry.get("lfs")).get("sha256") or entry.get("blobId")
            files[name] = (
                size if type(size) is int else None,
                content if isinstance(content, str) else None,
            )
    private = info.get("private")
    return Remote(
        commit=str(info.get("sha") or ""),
        private=private if isinstance(private, bool) else None,
        disabled=info.get("disabled") is True,
        files=files,
    )
