"""A Hub of one's own on 127.0.0.1: info, resolve with ETag, commit and sizes, ranges, a storage host."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """files: what the repository, a model or a data set, holds. The switches make it refuse or break.

    asked: (method, path, range, whether a token came) of every request. breaks: how many answers end
    after `cut_at` bytes. slow: seconds between pieces of a shard. lists_sizes: whether the list says
    sizes, as the Hub's does. storage: another host to which shards are redirected.
    """

    def __init__(self, name: str, files: dict[str, bytes], kind: str = "model") -> None:
        self.name = name
        self.kind = kind
        self.files = files
        self.refusal: tuple[int, str, str] | None = None
        self.wanted_token: str | None = None
        self.breaks = 0
        self.cut_at = 0
        self.lists_sizes = True
        self.storage: str | None = None
        self.slow = 0.0
        self.asked: list[tuple[str, str, str | None, bool]] = []
        hub = self

        class Handler(_Handler):
            def __init__(self, *arguments: object) -> None:
                self.hub = hub
                super().__init__(*arguments)  # type: ignore[arg-type]

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def etag(self, file: str) -> str:
        data = self.files[file]
        if _is_large(file):
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @contextmanager
    def running(self) -> Iterator["FakeHub"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def paths(self, method: str = "GET") -> list[str]:
        return [path for asked, path, _, _ in self.asked if asked == method]

    def ranges(self) -> list[str]:
        return [range for _, _, range, _ in self.asked if range]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        return

    def _answer(self) -> None:
        hub, path = self.hub, urlsplit(self.path)
        token = self.headers.get("Authorization")
        hub.asked.append((self.command, path.path, self.headers.get("Range"), token is not None))
        if hub.wanted_token and token != f"Bearer {hub.wanted_token}":
            return self._send(401, b"", {"X-Error-Code": "GatedRepo"})
        if path.path.startswith("/storage/"):
            return self._send_file(path.path.removeprefix("/storage/"))
        if path.path == f"/api/{hub.kind}s/{hub.name}/revision/main":
            return self._send_info(bool(parse_qs(path.query).get("blobs")))
        within = "" if hub.kind == "model" else f"{hub.kind}s/"
        start = f"/{within}{hub.name}/resolve/{COMMIT}/"
        if not path.path.startswith(start):
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if hub.refusal is not None:
            status, code, message = hub.refusal
            return self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})
        file = path.path.removeprefix(start)
        if hub.storage and _is_large(file):
            return self._send(302, b"", {"Location": f"{hub.storage}/storage/{file}"})
        return self._send_file(file)

    def _send_info(self, with_blobs: bool) -> None:
        hub = self.hub
        siblings: list[dict[str, object]] = []
        for file, data in hub.files.items():
            entry: dict[str, object] = {"rfilename": file}
            if with_blobs and hub.lists_sizes:
                entry |= {"size": len(data), "blobId": hub.etag(file)}
                if _is_large(file):
                    entry["lfs"] = {"sha256": hub.etag(file), "size": len(data)}
            siblings.append(entry)
        self._send(200, json.dumps({"sha": COMMIT, "siblings": siblings}).encode(), {})

    def _send_file(self, file: str) -> None:
        data = self.hub.files[file]
        headers = {
            "ETag": f'"{self.hub.etag(file)}"',
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(data)),
        }
        wanted, status = self.headers.get("Range"), 200
        if wanted:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data, status = data[start:], 206
        self._send(status, data, headers, cut=_is_large(file))

    def _send(self, status: int, data: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if value:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut and self.hub.breaks > 0:
            self.hub.breaks -= 1
            self.wfile.write(data[: self.hub.cut_at])
            self.close_connection = True
        elif cut and self.hub.slow:
            for start in range(0, len(data), 2**16):
                self.wfile.write(data[start : start + 2**16])
                time.sleep(self.hub.slow)
        else:
            self.wfile.write(data)


def _is_large(file: str) -> bool:
    """Kept elsewhere by the Hub, under the sha256 of its content."""
    return file.endswith((".safetensors", ".jsonl"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def sharded(folder: Path, into: Path) -> dict[str, bytes]:
    """The files of a folder with its one safetensors file cut into two shards and an index."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(folder, into)
    whole = into / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, into / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (into / "model.safetensors.index.json").write_text(json.dumps(index))
    return files_of(into)
