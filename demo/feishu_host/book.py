"""What all sheets of a spreadsheet share: one lock, one count of changes, the pictures that were ever stored."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .cells import Picture
from .late import Late
from .pictures import pixel_size
from .revisions import Revisions, Who
from .switches import Switches

__all__ = ["Book"]


class Book:
    """One document. `revision` goes up by one with every change; what the answers say is for the switches to decide."""

    def __init__(self, token: str, switches: Switches, clock: Callable[[], float]) -> None:
        self.token = token
        self.clock = clock
        self.revision = 1
        #: every picture that was ever stored, also those that were overwritten: they count to Feishu's limit
        self.pictures: dict[str, Picture] = {}
        #: the tokens of those that the API wrote into cells
        self.written: set[str] = set()
        #: called with the lock held after each change
        self.on_change: Callable[[], None] | None = None
        self.base_url = ""
        self.lock = threading.RLock()
        self.revisions = Revisions(switches)
        self.late = Late(switches, clock)
        self._depth = 0
        self._touched: set[str] = set()

    @contextmanager
    def change(self, sheet: str = "", who: Who = "person") -> Iterator[None]:
        """Hold the lock; at the outer end count one revision and tell the listener. `sheet`: the id of what changes."""
        with self.lock:
            if self._depth == 0:
                self._touched = set()
            self._depth += 1
            self._touched |= {sheet} - {""}
            try:
                yield
            finally:
                self._depth -= 1
            if self._depth == 0:
                self._changed(who)

    def _changed(self, who: Who) -> None:
        self.revision += 1
        self.revisions.changed(who, self._touched)
        if who == "person":
            self.late.person_changed()
        if self.on_change is not None:
            self.on_change()

    def store_picture(self, data: bytes, name: str) -> Picture:
        """Keep the bytes under a new token, as each write does, also of the same bytes."""
        with self.lock:
            width, height = pixel_size(data)
            token = f"standinPicture{len(self.pictures) + 1:05d}"
            picture = Picture(token, name, data, hashlib.sha256(data).hexdigest(), width, height)
            self.pictures[token] = picture
            return picture
