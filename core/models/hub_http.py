"""What is said to the Hub and what it answers, over the standard library's HTTP; errors as one line each."""

import http.client
import json
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from functools import cache
from http.client import HTTPMessage
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Literal, cast

from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.models.weights import hub_home
from finetune_tui.core.text import plain

PUBLIC = "https://huggingface.co"
TIMEOUT = 10.0  # seconds without a byte
_CHUNK = 2**20
_MOST_INFO = 32 * 2**20


Kind = Literal["model", "dataset"]
_WORDS: Mapping[Kind, str] = {"model": "model", "dataset": "data set"}


class Broken(Exception):  # not an error yet: the download goes on over another connection
    """The connection broke while a file came. words: how."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class Hub:
    """The Hub, asked about one repository. endpoint: HF_ENDPOINT, else the public one."""

    def __init__(self, name: str, environment: Mapping[str, str], kind: Kind = "model") -> None:
        self.name = name
        self._kind = kind
        self._path = name if kind == "model" else f"{kind}s/{name}"
        self.endpoint = endpoint_of(environment)
        self._token, self._token_from = find_token(environment)
        self._offline = is_offline(environment)

    def info(self) -> dict[str, Any]:
        """The repository at `main`: "sha", "siblings" with names, sizes and blob ids. One request."""
        url = f"{self.endpoint}/api/{self._kind}s/{self.name}/revision/main?blobs=true"
        with self._open(url) as answer:
            try:
                found = json.loads(answer.read(_MOST_INFO))
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(reason_of(error)) from error
            except (ValueError, RecursionError) as error:
                raise self._not_a_hub() from error
        if not isinstance(found, dict):
            raise self._not_a_hub()
        return found

    def size_and_etag(self, commit: str, file: str) -> tuple[int, str]:
        """Of one file, from its headers; for a Hub whose list does not say them."""
        with self._open(self._url(commit, file), method="HEAD") as answer:
            headers = answer.headers
            etag = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
            length = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
        etag = etag.strip().removeprefix("W/").strip('"')
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", etag) or not length.isdecimal():
            raise self._not_a_hub()
        return int(length), etag

    def read(self, commit: str, file: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a file from `start` to `end`, as they come; fewer when the connection ends.

        Raises Broken when it breaks.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with self._open(self._url(commit, file), headers) as answer:
                if start and answer.status != 206:
                    _skip(answer, start)  # a proxy that knows no ranges
                while start < end and (data := answer.read1(min(_CHUNK, end - start))):
                    start += len(data)
                    yield data
        except (OSError, http.client.HTTPException) as error:
            raise Broken(reason_of(error)) from error
        except WorkFailed as error:
            if start:
                raise Broken(error.message) from error
            raise

    def _url(self, commit: str, file: str) -> str:
        return f"{self.endpoint}/{self._path}/resolve/{commit}/{urllib.parse.quote(file)}"

    def _open(
        self, url: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> http.client.HTTPResponse:
        if self._offline:
            raise UserError(
                "not on this disk, and HF_HUB_OFFLINE forbids to fetch it",
                where=self.name,
                hint="unset HF_HUB_OFFLINE, or give a folder",
            )
        words = {"User-Agent": f"finetune-tui/{version('finetune-tui')}", **(headers or {})}
        if self._token:
            words["Authorization"] = f"Bearer {self._token}"
        if not self.endpoint.startswith(("https://", "http://")):
            raise UserError("does not begin with https://", where="HF_ENDPOINT")
        try:
            request = urllib.request.Request(url, headers=words, method=method)
            answer: http.client.HTTPResponse = opener().open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                if method == "HEAD" and error.code in (301, 302, 303, 307, 308):
                    return cast(http.client.HTTPResponse, error)  # its headers are the answer
                raise self._refused(error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._unreachable(reason_of(error)) from error
        return answer

    def _refused(self, error: urllib.error.HTTPError) -> UserError:
        """The Hub's answer in one line: who must do what."""
        code = error.headers.get("X-Error-Code") or ""
        said = error.headers.get("X-Error-Message") or ""
        page = f"{self.endpoint}/{self._path}"
        word = _WORDS[self._kind]
        if code == "GatedRepo" or (error.code == 403 and "gated" in said.lower()):
            return self._gated(said, page)
        if error.code == 401 and self._token and code != "RepoNotFound":
            return UserError(
                f"the Hub does not accept the token from {self._token_from}",
                where=self.name,
                hint="`hf auth login` makes a new one",
            )
        if error.code == 401 and not code:
            return self._gated(said, page)
        if error.code in (401, 404) and code != "EntryNotFound":
            return UserError(
                f"no {word} '{self.name}' on the Hub, and no such folder here",
                where=self.endpoint,
                hint=f"look at its spelling; for a private {word} `hf auth login` first",
            )
        if error.code == 403:
            return UserError(
                f"the Hub forbids it ({plain(said, 120) or 'no reason given'})",
                where=self.name,
                hint=f"accept its licence at {page} if it has one; look at the token's rights",
            )
        if error.code == 404:
            return UserError(f"a file of this {word} is not there", where=self.name)
        if error.code == 429:
            return WorkFailed("too many requests", where=self.endpoint, hint="try again later")
        return WorkFailed(
            f"the Hub answers {error.code} {plain(error.reason or '', 60)}".rstrip(),
            where=self.endpoint,
            hint="try again later; what has come is kept",
        )

    def _gated(self, said: str, page: str) -> UserError:
        """A licence stands before the weights: no login, not accepted, or not yet granted."""
        if not self._token:
            return UserError(
                "gated: the Hub wants to know who asks",
                where=self.name,
                hint=f"`hf auth login`, and accept the licence at {page}",
            )
        if "await" in said.lower() or "pending" in said.lower():
            return UserError(
                "gated: you have asked, and its owners have not answered yet",
                where=self.name,
                hint=f"{page} says when they have",
            )
        return UserError(
            f"gated: the account of the token from {self._token_from} has not accepted the licence",
            where=self.name,
            hint=f"accept it at {page}, then start again",
        )

    def _unreachable(self, why: str) -> WorkFailed:
        files = "weights" if self._kind == "model" else "files"
        host = urllib.parse.urlsplit(self.endpoint).netloc.rpartition("@")[2]
        return WorkFailed(
            f"{self.name} is not on this disk, and {plain(host, 80)} cannot be reached ({why})",
            hint=f"a folder with the {files} works with no network; HF_ENDPOINT names another Hub",
        )

    def _not_a_hub(self) -> WorkFailed:
        return WorkFailed(
            "answers, but not as a Hub",
            where=self.endpoint,
            hint="look at HF_ENDPOINT and the proxy",
        )


def endpoint_of(environment: Mapping[str, str]) -> str:
    """HF_ENDPOINT, else the public Hub."""
    return (environment.get("HF_ENDPOINT") or PUBLIC).rstrip("/")


def is_offline(environment: Mapping[str, str]) -> bool:
    """Whether the environment forbids to ask the Hub."""
    return any(
        environment.get(key, "").upper() in ("1", "ON", "YES", "TRUE")
        for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def find_token(environment: Mapping[str, str]) -> tuple[str | None, str]:
    """(token, where it is from), as huggingface_hub finds it."""
    for key in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if found := _clean(environment.get(key, "")):
            return found, key
    if environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None, ""
    named = environment.get("HF_TOKEN_PATH")
    path = Path(named).expanduser() if named else hub_home(environment) / "token"
    try:
        return _clean(path.read_text(encoding="utf-8")) or None, "`hf auth login`"
    except (OSError, UnicodeDecodeError):
        return None, ""


def _clean(token: str) -> str:
    """Without line breaks; what no header can hold is no token."""
    token = token.strip()
    return token if token.isascii() and token.isprintable() and " " not in token else ""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """The token stays with the host it was meant for: weights come from another one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.get_method() == "HEAD" and headers.get("X-Linked-Etag"):
            return None  # size and content are said here; behind it is only the storage
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            following.method = req.get_method()
            if _origin(newurl) != _origin(req.full_url):
                following.remove_header("Authorization")
        return following


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.lower()


@cache
def opener() -> urllib.request.OpenerDirector:
    """Opens what is asked of the Hub; the token stays with the host it was meant for."""
    tls = urllib.request.HTTPSHandler(context=_tls())
    return urllib.request.build_opener(_Redirects, tls)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:  # slim images bring no certificates of their own
        try:
            import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


def _skip(answer: http.client.HTTPResponse, count: int) -> None:
    while count > 0 and (data := answer.read(min(count, 2**20))):
        count -= len(data)


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in a few words; never what was sent over it."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, socket.gaierror):
        return "its name is not known: no network?"
    if isinstance(cause, TimeoutError):
        return f"no answer for {TIMEOUT:.0f} s"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {plain(cause.verify_message, 80)}"
    if isinstance(cause, OSError):
        return plain(cause.strerror or type(cause).__name__, 80)
    return type(cause).__name__ if isinstance(cause, BaseException) else plain(str(cause), 80)
