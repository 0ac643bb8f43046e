"""A Hub of one's own that can be written to: repositories, LFS with and without parts, commits, faults."""

import base64
import hashlib
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_" + "writewrite" * 3
Files = dict[str, bytes]


@dataclass(slots=True)
class Repository:
    """commits: all files after each of them, the newest last."""

    private: bool = True
    commits: list[Files] = field(default_factory=lambda: [{".gitattributes": b"* text"}])
    disabled: bool = False

    @property
    def files(self) -> Files:
        return self.commits[-1]


@dataclass(frozen=True, slots=True)
class Fault:
    """status: the answer. after: bytes of the request that are read before the connection ends. stall:
    seconds without an answer. deaf: the request is done and its answer lost. headers, body: of the answer.
    """

    status: int = 0
    after: int | None = None
    stall: float = 0.0
    deaf: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Faults = Callable[[str, int], Fault | None]
"""(kind of request, which of its kind, counted from 1) → what goes wrong with it."""

KINDS = (
    *("whoami", "info", "create", "validate", "preupload", "batch"),
    *("put", "part", "complete", "verify", "commit"),
)


class WritingHub:
    """slow: seconds for each 64 kB of a file. parts: bytes of a part, 0: whole files. dead: nobody home."""

    def __init__(self, account: str = "ann", role: str = "write") -> None:
        self.account: dict[str, Any] = {
            "type": "user",
            "name": account,
            "orgs": [{"type": "org", "name": "workshop"}],
            "auth": {"type": "access_token", "accessToken": {"role": role}},
        }
        self.repositories: dict[str, Repository] = {}
        self.objects: Files = {}
        self.parts = 0
        self.slow = 0.0
        self.dead = False
        self.lacks = ""
        self.faults: Faults = lambda _kind, _number: None
        self.asked: Counter[str] = Counter()
        self.received = 0
        self.tokens: set[str | None] = set()
        self.lock = threading.Lock()
        self.half: dict[str, dict[int, bytes]] = {}
        hub = self

        class Handler(_Handler):
            def __init__(self, *arguments: object) -> None:
                self.hub = hub
                super().__init__(*arguments)  # type: ignore[arg-type]

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def with_tls(self, certificate: Path, key: Path) -> "WritingHub":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")
        return self

    @contextmanager
    def running(self) -> Iterator["WritingHub"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def visible(self, repo: str) -> Files | None:
        """What everybody who may look sees there, without what the Hub put there itself."""
        found = self.repositories.get(repo)
        if found is None:
            return None
        return {name: data for name, data in found.files.items() if name != ".gitattributes"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one packet
    hub: WritingHub

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        kind = _kind(path)
        with self.hub.lock:
            self.hub.asked[kind] += 1
            number = self.hub.asked[kind]
        fault = Fault(after=0) if self.hub.dead else self.hub.faults(kind, number) or Fault()
        body = self._read_body(fault.after)
        if body is None:
            self.close_connection = True
            self.connection.close()
            return None
        if fault.stall:
            time.sleep(fault.stall)
        if fault.status:
            return self._send(fault.status, fault.body, dict(fault.headers))
        if kind not in ("put", "part", "complete"):  # their addresses are the permission
            self.hub.tokens.add(self.headers.get("Authorization"))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._send(401, b"", {"X-Error-Message": "Invalid credentials"})
        status, answer, headers = getattr(self, f"_{kind}")(path, body)
        if fault.deaf:
            self.close_connection = True
            self.connection.close()
            return None
        return self._send(status, answer, headers)

    def _read_body(self, most: int | None) -> bytes | None:
        """None when the connection shall end after `most` bytes."""
        left = int(self.headers.get("Content-Length") or 0)
        pieces: list[bytes] = []
        while left:
            if most is not None and sum(map(len, pieces)) >= most:
                return None
            piece = self.rfile.read(min(left, 2**16))
            if not piece:
                return None
            pieces.append(piece)
            left -= len(piece)
            if self.command == "PUT":
                with self.hub.lock:
                    self.hub.received += len(piece)
                time.sleep(self.hub.slow)
        return None if most is not None else b"".join(pieces)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the other side is gone
            self.close_connection = True

    # What it answers: (status, body, headers)

    def _whoami(self, _path: str, _body: bytes) -> "_Answer":
        return _json(self.hub.account)

    def _info(self, path: str, _body: bytes) -> "_Answer":
        name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        found = self.hub.repositories.get(name)
        if found is None:
            return 404, b"", {"X-Error-Code": "RepoNotFound"}
        at = len(found.commits) - 1 if revision in ("", "main") else int(revision, 16)
        with_blobs = "blobs=" in urlsplit(self.path).query
        siblings = [_listed(file, data, with_blobs) for file, data in found.commits[at].items()]
        facts = {"id": name, "sha": f"{at:040x}", "siblings": siblings}
        return _json(facts | {"private": found.private, "disabled": found.disabled})

    def _create(self, _path: str, body: bytes) -> "_Answer":
        asked = json.loads(body)
        name = f"{asked.get('organization') or self.hub.account['name']}/{asked['name']}"
        with self.hub.lock:
            if name in self.hub.repositories:
                there = {"error": "You already created it", "url": f"{self.hub.url}/{name}"}
                return _json(there, 409)
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.hub.repositories[name] = Repository(private)
        return _json({"url": f"{self.hub.url}/{name}", "name": name})

    def _validate(self, _path: str, body: bytes) -> "_Answer":
        if b"badheader" in body:
            return _json({"errors": [{"message": '"license" is no license'}]}, 400)
        return _json({"errors": [], "warnings": []})

    def _preupload(self, path: str, body: bytes) -> "_Answer":
        files = self.hub.repositories[path.removeprefix("/api/models/").partition("/preupload")[0]]
        asked = json.loads(body)
        rules = asked.get("gitIgnore")
        if rules is None:
            rules = files.files.get(".gitignore", b"").decode()
        answers = []
        for entry in asked["files"]:
            name = entry["path"]
            there = files.files.get(name)
            answers.append(
                {
                    "path": name,
                    "uploadMode": "lfs" if _is_large(name) else "regular",
                    "shouldIgnore": any(fnmatch(name, rule) for rule in rules.splitlines()),
                    "oid": None if there is None else _content(name, there),
                }
            )
        return _json({"files": answers})

    def _batch(self, _path: str, body: bytes) -> "_Answer":
        objects = []
        for asked in json.loads(body)["objects"]:
            oid, count = asked["oid"], asked["size"]
            answer: dict[str, Any] = {"oid": oid, "size": count}
            if oid not in self.hub.objects:
                answer["actions"] = {"upload": self._upload(oid, count)}
                answer["actions"]["verify"] = {"href": f"{self.hub.url}/verify/{oid}"}
            objects.append(answer)
        return _json({"transfer": "basic", "objects": objects})

    def _upload(self, oid: str, count: int) -> dict[str, Any]:
        if not self.hub.parts or count <= self.hub.parts:
            return {"href": f"{self.hub.url}/put/{oid}"}
        numbers = range(1, -(-count // self.hub.parts) + 1)
        header = {str(number): f"{self.hub.url}/part/{oid}/{number}" for number in numbers}
        header["chunk_size"] = str(self.hub.parts)
        return {"href": f"{self.hub.url}/complete/{oid}", "header": header}

    def _put(self, path: str, body: bytes) -> "_Answer":
        return self._keep(path.rpartition("/")[2], body)

    def _part(self, path: str, body: bytes) -> "_Answer":
        _, _, oid, number = path.split("/")
        with self.hub.lock:
            self.hub.half.setdefault(oid, {})[int(number)] = body
        return 200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}

    def _complete(self, path: str, body: bytes) -> "_Answer":
        oid = path.rpartition("/")[2]
        numbers = [part["partNumber"] for part in json.loads(body)["parts"]]
        half = self.hub.half.pop(oid)
        return self._keep(oid, b"".join(half[number] for number in numbers))

    def _keep(self, oid: str, data: bytes) -> "_Answer":
        if hashlib.sha256(data).hexdigest() != oid:
            return 400, b"", {"X-Error-Message": "the content is not what was announced"}
        self.hub.objects[oid] = data
        return _json({})

    def _verify(self, path: str, _body: bytes) -> "_Answer":
        return _json({}, 200 if path.rpartition("/")[2] in self.hub.objects else 404)

    def _commit(self, path: str, body: bytes) -> "_Answer":
        name = path.removeprefix("/api/models/").partition("/commit")[0]
        found = self.hub.repositories[name]
        after = dict(found.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                after[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return _json({"error": f"no object {value['oid']}"}, 400)
                after[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] != "header":
                return _json({"error": f"a push never asks for {line['key']}"}, 400)
        if self.hub.lacks:
            after.pop(self.hub.lacks, None)
        found.commits.append(after)
        at = f"{len(found.commits) - 1:040x}"
        return _json({"commitUrl": f"{self.hub.url}/{name}/commit/{at}", "commitOid": at})


_Answer = tuple[int, bytes, dict[str, str]]


def _kind(path: str) -> str:
    if path.startswith("/api/models/"):
        return next((kind for kind in ("preupload", "commit") if f"/{kind}/" in path), "info")
    if path.endswith("/batch"):
        return "batch"
    first = path.removeprefix("/api/").strip("/").partition("/")[0]
    return {"whoami-v2": "whoami", "repos": "create", "validate-yaml": "validate"}.get(first, first)


def _json(value: object, status: int = 200) -> _Answer:
    return status, json.dumps(value).encode(), {"Content-Type": "application/json"}


def _is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def _content(name: str, data: bytes) -> str:
    if _is_large(name):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _listed(name: str, data: bytes, with_blobs: bool) -> dict[str, Any]:
    if not with_blobs:
        return {"rfilename": name}
    entry: dict[str, Any] = {"rfilename": name, "size": len(data)}
    if not _is_large(name):
        return entry | {"blobId": _content(name, data)}
    large = {"sha256": _content(name, data), "size": len(data), "pointerSize": 134}
    return entry | {"blobId": "0" * 40, "lfs": large}
