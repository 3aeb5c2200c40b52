"""The stand-in's sockets: what is the API's goes to the service, anything else is for whoever controls the stand-in."""

from __future__ import annotations

from email.utils import formatdate
from typing import Final, Protocol, cast

from ..serving.sockets import Handler, Server
from .service import FeishuService
from .wire import Answer, Request

__all__ = ["Backend", "FeishuServer"]

API: Final = "/open-apis/"


class Backend(Protocol):
    """What the server needs of the stand-in."""

    @property
    def service(self) -> FeishuService: ...
    @property
    def lowercase_headers(self) -> bool: ...
    @property
    def time(self) -> float: ...
    def pause(self, seconds: float) -> None: ...
    def control(self, request: Request) -> Answer: ...


class FeishuServer(Server):
    """Serves until `close`."""

    def __init__(self, host: str, port: int, backend: Backend) -> None:
        self.backend = backend
        super().__init__(host, port, _Handler, "feishu stand-in")


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802
        backend = cast("FeishuServer", self.server).backend
        if not self.path.startswith(API):
            self._answer(backend.control(self._request()), backend)
            return
        with backend.service.visit(self.command, self.path) as visit:
            received = self._request()
            visit.request.headers, visit.request.body = received.headers, received.body
            answer = visit.answer()
        if answer.delay:
            backend.pause(answer.delay)
        self._answer(answer, backend)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _request(self) -> Request:
        return Request(self.command, self.path, self.received_headers(), self.received_body())

    def _answer(self, answer: Answer, backend: Backend) -> None:
        if answer.cut == "nothing":
            self.cut()
            return
        headers = {
            "Date": formatdate(backend.time, usegmt=True),
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        if backend.lowercase_headers:
            headers = {name.lower(): value for name, value in headers.items()}
        self.send(answer.status, headers, answer.body, half=answer.cut == "half")
