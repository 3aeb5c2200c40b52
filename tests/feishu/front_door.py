"""What stands between us and Feishu: a gateway that passes requests on to the stand-in, or answers in its place."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: as nginx has it
HTML_413 = b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body></body>\r\n</html>\r\n"


@dataclass
class Answer:
    """An answer in Feishu's place. `body`: bytes as they are, anything else as JSON."""

    path: str
    status: int
    body: Any
    headers: Mapping[str, str]
    #: so often; None: always
    times: int | None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class FrontDoor:
    """Use `url` for FEISHU_DOMAIN. Bodies and answers larger than it passes on get HTTP 413 with a page."""

    inside: str
    largest_request: int | None = None
    largest_answer: int | None = None
    #: path and query of each request
    asked: list[str] = field(default_factory=list)
    url: str = ""
    own: list[Answer] = field(default_factory=list)

    def answer(
        self,
        path: str,
        body: Any,
        status: int = 200,
        *,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """To requests with `path` in theirs."""
        kind = "text/html" if isinstance(body, bytes) else "application/json; charset=utf-8"
        self.own.append(Answer(path, status, body, {"Content-Type": kind, **(headers or {})}, times))

    def count(self, path: str) -> int:
        return sum(path in asked for asked in self.asked)

    def own_answer(self, path: str) -> Answer | None:
        """The first that is left for this path."""
        for answer in self.own:
            if answer.path in path and answer.times != 0:
                if answer.times is not None:
                    answer.times -= 1
                return answer
        return None

    def reply(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, bytes]:
        """Status, headers and body of what goes back."""
        self.asked.append(path)
        own = self.own_answer(path)
        if own is not None:
            return own.status, own.headers, own.content
        page = (413, {"Content-Type": "text/html"}, HTML_413)
        if self.largest_request is not None and len(body) > self.largest_request:
            return page
        inside = HTTPConnection(urlsplit(self.inside).netloc, timeout=60)
        try:
            inside.request(method, path, body, {name: value for name, value in headers.items() if name != "Host"})
            answer = inside.getresponse()
            content = answer.read()
        finally:
            inside.close()
        if self.largest_answer is not None and len(content) > self.largest_answer:
            return page
        kept = ("content-type", "date", "x-ogw-ratelimit-reset")
        return answer.status, {name: value for name, value in answer.getheaders() if name.lower() in kept}, content


@contextlib.contextmanager
def front_door(inside: str) -> Iterator[FrontDoor]:
    """Before the stand-in at the address `inside`."""
    door = FrontDoor(inside)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, content = door.reply(self.command, self.path, dict(self.headers), body)
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET  # noqa: N815 - their names are given

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    door.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield door
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
