"""The locks between processes: the operating system's own, which end with their holder, or none at all."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from filelock import FileLock

from ..wording import Wording
from .disk import Disk

#: What a file system answers that has no locks.
_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})


_given_before: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


class NoLocksError(OSError):
    """Nothing on this file system keeps two programs apart; `wording` says what to do."""

    def __init__(self, path: Path, number: int | None) -> None:
        folder = path.parent
        self.wording = Wording(
            f"the disk of {folder} knows no file locks, so nothing would keep two programs from writing at once "
            "→ put the output folder on another disk: a local one, or a network drive that is mounted with locks "
            "(ComfyUI: --output-directory, main.py: WFRECOVERY_OUTPUT)",
            f"{folder} 所在的磁盘不支持文件锁，无法防止两个程序同时写入 → 请把输出文件夹放到别的磁盘："
            "本地磁盘，或以支持锁的方式挂载的网络盘（ComfyUI：--output-directory，main.py：WFRECOVERY_OUTPUT）",
        )
        super().__init__(number, self.wording.en)

    def __str__(self) -> str:
        return self.wording.en


def process_lock(path: Path, *, timeout: float, poll_interval: float = 0.05, thread_local: bool = True) -> FileLock:
    """A lock on `path`, to be taken with `held`.

    Never a soft one, which filelock takes where there are no others: that knows its holder by host name and pid, and
    both are somebody else's in the next container. And its file stays, which filelock removes on Windows when the lock
    is given back: which file an owner has locked is what proves whether it lives.
    """
    return FileLock(
        path,
        timeout=timeout,
        poll_interval=poll_interval,
        thread_local=thread_local,
        fallback_to_soft=False,
        preserve_lock_file=True,
    )


@contextlib.contextmanager
def held(lock: FileLock, disk: Disk, timeout: float | None = None) -> Iterator[None]:
    """Hold `lock`. Raises filelock's Timeout after `timeout` seconds (None: the lock's own), NoLocksError, or another
    OSError: a network drive that has given the lock before will do so again."""
    disk.make_lock_file(Path(lock.lock_file))
    try:
        lock.acquire(timeout)
    except OSError as error:
        if error.errno in _NO_LOCKS and lock not in _given_before:
            raise NoLocksError(Path(lock.lock_file), error.errno) from error
        raise
    _given_before.add(lock)
    try:
        yield
    finally:
        lock.release()


class Threads:
    """The threads of this process, one after the other at a lock between processes: that is polled for, and each of
    them would poll while another one holds it. Who holds it may take it again."""

    def __init__(self) -> None:
        self.forked()
        renewed_in_child(self)

    @contextlib.contextmanager
    def in_turn(self, timeout: float) -> Iterator[float]:
        """Wait for the others; the seconds that are left of `timeout` then. Raises TimeoutError."""
        turn, began = self._turn, time.monotonic()
        if not turn.acquire(timeout=timeout):
            raise TimeoutError
        try:
            yield max(0.0, timeout - (time.monotonic() - began))
        finally:
            turn.release()

    def forked(self) -> None:
        self._turn = threading.RLock()


class Mutex:
    """A lock between the threads of this process, to be taken as `with mutex.lock`."""

    def __init__(self) -> None:
        self.forked()
        renewed_in_child(self)

    def forked(self) -> None:
        self.lock = threading.Lock()


class _HasLocks(Protocol):
    def forked(self) -> None:
        """In a forked child: what another thread held at that moment would be held for ever."""


_with_locks: Final[weakref.WeakSet[_HasLocks]] = weakref.WeakSet()


def renewed_in_child(it: _HasLocks) -> None:
    """Have `forked` called in each forked child, for as long as it is there."""
    _with_locks.add(it)


def _after_fork() -> None:
    for it in list(_with_locks):
        it.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
