"""HTTP/1.1 with keep-alive on a loopback address, and the ways to leave a client without its answer."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import struct
import sys
import threading
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from .ports import free_port

__all__ = ["Handler", "Server"]

#: l_onoff and l_linger are shorts on Windows
_LINGER: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Server(ThreadingHTTPServer):
    """Serves until `close`, which also ends the connections that are kept alive, and those that hang.

    On port 0 it looks for one itself.
    """

    daemon_threads = True
    # On Windows this would let two servers share a port.
    allow_reuse_address = os.name != "nt"
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: type[Handler], name: str) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__((host, port or free_port(host)), handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=name, daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        # HTTPServer looks the host's name up here, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in mid-request is nothing to report; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Stop listening, end all connections and wait for their threads."""
        self.closing.set()
        self.shutdown()
        self._thread.join()
        with self._changed:
            for connection in self._open:
                # It may have been closed by its own thread, or reset by the client.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=5)
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection. A subclass says what is answered, in its `do_` methods."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in one piece and at once: waiting for the other side's acknowledgement costs 40 ms.
    disable_nagle_algorithm = True
    _reset = False

    def received_headers(self) -> dict[str, str]:
        """The request's headers, each name In-Title-Case."""
        return {name.title(): value for name, value in self.headers.items()}

    def received_body(self) -> bytes:
        """The request's body. Raises ConnectionAbortedError if the client goes away before its end."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionAbortedError("the client went away in the middle of its request")
            return body
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def send(self, status: int, headers: dict[str, str], body: bytes, *, half: bool = False) -> None:
        """Answer; with `half` in the middle of the body the connection ends. Without a length its end is the body's."""
        head = f"HTTP/1.1 {status} {responses.get(status, '')}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        self.wfile.write(head.encode("latin-1") + (body[: len(body) // 2] if half else body))
        if half or "content-length" not in map(str.lower, headers):
            # An orderly end: a reset could overtake what was sent.
            self.close_connection = True

    def cut(self) -> None:
        """End the connection without an answer, by a reset."""
        self.close_connection = True
        self._reset = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)

    def finish(self) -> None:
        super().finish()
        if self._reset:
            # Closed before the server would shut it down in good order, so that the other side sees a reset.
            self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """The stand-in's own list of calls is enough."""
