"""The stand-in's sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from ..serving.sockets import Handler, Server
from .wire import Answer, Request

__all__ = ["CloudServer"]


class CloudServer(Server):
    """Serves on 127.0.0.1 until `close`; what hangs hangs until then."""

    def __init__(self, port: int, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        super().__init__("127.0.0.1", port, _Handler, "cloud stand-in")


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802
        server = cast("CloudServer", self.server)
        answer = server.answer(Request(self.command, self.path, self.received_headers(), self.received_body()))
        if answer.delay:
            server.closing.wait(answer.delay)
        if answer.cut == "hang":
            server.closing.wait()
        if answer.cut in ("nothing", "hang"):
            self.cut()
            return
        headers = {"Content-Type": answer.content_type}
        headers |= {"Content-Length": str(len(answer.body))} if answer.length else {"Connection": "close"}
        self.send(answer.status, headers, answer.body, half=answer.cut == "half")

    do_POST = do_GET  # noqa: N815
