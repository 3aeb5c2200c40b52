"""Which port a server of ours listens on."""

from __future__ import annotations

import contextlib
import secrets
import socket
from typing import Final

__all__ = ["free_port"]

#: Below what Linux (from 32768), Windows and macOS (from 49152) take for outgoing connections.
_PORTS: Final = range(20000, 32768)
_TRIES: Final = 100


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listened on a moment ago, and that the system gives to no connection of its own accord.

    While the one that listens is down, as between a crash and its restart, such a connection would keep it out.
    Raises OSError where none can be had.
    """
    for _ in range(_TRIES):
        port = secrets.choice(_PORTS)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise OSError(f"{host} lets nobody listen: tried {_TRIES} ports from {_PORTS.start} to {_PORTS.stop - 1}")
