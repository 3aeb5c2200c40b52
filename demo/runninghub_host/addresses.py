"""Where results can be fetched, and for how long."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from .cloud import Task
from .switches import Limits, Switches
from .wire import Answer, Request, html

__all__ = ["FILES", "Addresses"]

#: below this path results lie
FILES: Final = "rh-images"
_TYPES: Final = {"png": "image/png", "mp4": "video/mp4"}


@dataclass
class _Address:
    path: str
    signature: str
    task: Task
    number: int
    made: float
    fetches: int = 0


class Addresses:
    """All addresses that were ever given out."""

    def __init__(self, limits: Limits, switches: Switches, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._switches = switches
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[str, _Address] = {}
        self._first: dict[tuple[str, int], _Address] = {}

    def give(self, task: Task, number: int) -> str:
        """The path and query of a file; a fresh one each time, or always the first."""
        with self._lock:
            made = self._first.get((task.id, number))
            if made is None or self._switches.fresh_addresses:
                made = self._make(task, number)
            return f"/{quote(made.path)}{made.signature and '?sign=' + made.signature}"

    def fetch(self, request: Request) -> Answer:
        """The file, or a page that says why not."""
        with self._lock:
            found = self._made.get("/".join(request.segments))
            if found is None:
                return html(404, "404 Not Found")
            if request.query("sign") != found.signature:
                return html(403, "403 Forbidden")
            if self._expired(found):
                return html(self._switches.expired_status, "the address has expired")
            found.fetches += 1
        kind = found.task.files()[found.number].kind
        return Answer(200, found.task.content(found.number), _TYPES[kind])

    def _make(self, task: Task, number: int) -> _Address:
        output = task.files()[number]
        stem = "合成图 结果" if self._switches.chinese_names else "ComfyUI"
        name = f"{stem}_{number + 1:05}_{secrets.token_hex(3)}.{output.kind}"
        signature = secrets.token_hex(8) if self._switches.signed_addresses else ""
        made = _Address(f"{FILES}/{secrets.token_hex(8)}/output/{name}", signature, task, number, self._clock())
        self._made[made.path] = made
        self._first.setdefault((task.id, number), made)
        return made

    def _expired(self, address: _Address) -> bool:
        limits = self._limits
        too_old = limits.address_seconds is not None and self._clock() >= address.made + limits.address_seconds
        return too_old or (limits.address_fetches is not None and address.fetches >= limits.address_fetches)
