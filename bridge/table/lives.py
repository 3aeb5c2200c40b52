"""Whether another process that owns tasks lives: its lock where that proves something, else its beat.

Dead is whose very lock file is there and free. Where a lock proves nothing (the file is gone or another one, may not be
opened, is of another machine or kernel boot, the folder's locks do not exclude) the beat alone decides, by the clock of
the process that looks.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from filelock import Timeout

from .disk import Disk, FileStamp
from .folder_test import tested
from .kernel import computer, kernel_boot
from .locks import process_lock

if sys.platform != "win32":
    import fcntl

#: What may name an owner's files; ours are 32 hexadecimal digits.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
BEAT_SECONDS: Final = 5.0
#: Without a beat for so long, whoever cannot be proved to live is dead.
SILENCE_SECONDS: Final = 90.0
#: Whoever has not moved it for so long is gone, or makes it again: nothing proves that of a former start of the kernel.
_FORGOTTEN_SECONDS: Final = 24 * 3600.0
#: So long a ComfyUI with many nodes may take until it is back.
_BACK_SECONDS: Final = 300.0
#: A look is good for so long: hundreds of tasks have the same owner.
_KEPT_SECONDS: Final = 1.0
#: On Windows another process may be looking at the same lock just now, which takes it much less than this.
_PROBE_SECONDS: Final = 0.05
#: Ours have some hundred bytes: what is far larger was not written by an owner, and is not read.
_MOST_BYTES: Final = 64 * 1024
#: What one pause between two looks counts for at most: a process that was stopped itself has not seen any silence.
_MOST_PER_LOOK: Final = 2 * BEAT_SECONDS


class Life(str, Enum):
    """What is known of an owner."""

    #: this very process
    OURS = "ours"
    ALIVE = "alive"
    #: nothing proves either; silent, but not yet for long enough
    DOUBT = "doubt"
    DEAD = "dead"


@dataclass(frozen=True)
class OwnerFile:
    """What an owner says of itself."""

    boot: str
    kind: str = ""
    name: str = ""
    #: device and inode of its lock file
    lock: tuple[int, int] | None = None
    #: machine and boot of its kernel
    kernel: str | None = None
    #: the same computer after a restart; None where nobody knows, and in files of older programs
    computer: str | None = None
    since: str = ""
    beat: int = 0
    #: what its computer, or its container, is called
    host: str = ""

    @classmethod
    def of(cls, boot: str, raw: bytes) -> OwnerFile:
        """What can be read of it."""
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError):
            data = None
        data = data if isinstance(data, dict) else {}
        lock, beat = data.get("lock"), data.get("beat")
        numbers = isinstance(lock, list) and len(lock) == 2 and all(type(part) is int for part in lock)
        texts = {key: str(data.get(key) or "")[:200] for key in ("kind", "name", "since", "host")}
        where = {key: data[key] for key in ("kernel", "computer") if isinstance(data.get(key), str)}
        return cls(
            boot,
            lock=(lock[0], lock[1]) if numbers and isinstance(lock, list) else None,
            beat=beat if type(beat) is int else 0,
            **where,
            **texts,
        )

    def to_json(self) -> bytes:
        """As it stands in the file."""
        data = {key: value for key, value in vars(self).items() if key != "boot" and value is not None}
        return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace")


@dataclass
class _Watched:
    """What this process has seen of another owner's beat."""

    stamp: FileStamp | None
    looked_at: float
    silent: float = 0.0
    moved: bool = False


@dataclass(frozen=True)
class Surroundings:
    """The computer as owners see it. Tests put one of their own in its place."""

    #: seconds; not moved when the clock is set
    clock: Callable[[], float] = time.monotonic
    kernel: Callable[[], str | None] = kernel_boot
    #: whether locks in an output folder exclude
    locks_hold: Callable[[Path], bool] = lambda folder: tested(folder).mode == "locks"
    #: whether a thread of our own moves the beat
    beats: bool = True
    computer: Callable[[], str | None] = computer


class Lives:
    """What this process knows of the others. For several threads at once."""

    def __init__(self, folder: Path, disk: Disk, around: Surroundings) -> None:
        self._folder, self._disk, self._around = folder, disk, around
        self._looking, self._mutex = threading.Lock(), threading.Lock()
        self._known: dict[str, tuple[float, Life]] = {}
        self._watched: dict[str, _Watched] = {}
        self._read: dict[str, tuple[FileStamp, OwnerFile]] = {}

    def of(self, boot: str) -> Life:
        """Whether that one lives. To be asked every few seconds: silence is only what was looked at."""
        with self._looking:  # one who looks must not take another look for the owner
            now = self._around.clock()
            known = self._known.get(boot)
            if known is not None and 0 <= now - known[0] < _KEPT_SECONDS:
                return known[1]
            stamp = self._stamp(boot)
            proof = self._proof(self._read_at(boot, stamp))
            if proof is Life.ALIVE:  # its silence before does not count any more
                self._watched.pop(boot, None)
            life = proof if proof is not None else self._by_beat(boot, stamp)
            self._known[boot] = now, life
            return life

    def told(self, boot: str) -> OwnerFile | None:
        """What it says of itself; None where that is gone or cannot be read."""
        return self._read_at(boot, self._stamp(boot))

    def is_forgotten(self, boot: str) -> bool:
        """Whether its beat has not moved for a day: reason enough to remove its files, and for nothing else."""
        age = self._age(boot)
        return age is not None and age > _FORGOTTEN_SECONDS

    def may_be_restarted(self, boot: str) -> bool:
        """Whether a dead one has ended in good order, or with its kernel, and its beat has moved a few minutes ago, by
        the time of the day: clocks that do not agree say no."""
        age = self._age(boot)
        return age is not None and abs(age) < _BACK_SECONDS and self.ended_well(boot)

    def _age(self, boot: str) -> float | None:
        stamp = self._stamp(boot)
        return None if stamp is None else time.time() - stamp.changed_at / 1e9

    def ended_well(self, boot: str) -> bool:
        """Whether a dead one ended in good order, or with its kernel."""
        if not is_token(boot):
            return False
        return self._disk.exists(path_of(self._folder, boot, "ended")) or self.ended_with_kernel(boot)

    def ended_with_kernel(self, boot: str) -> bool:
        """Whether it ran on this computer before that was started anew. What ran on another one, or on who knows which,
        may have been killed as well: whoever ran it next would be killed by the same task, time after time."""
        told, computer, kernel = self.told(boot), self._around.computer(), self._around.kernel()
        if told is None or None in (told.computer, told.kernel, kernel):
            return False
        return told.computer == computer and told.kernel != kernel

    def _proof(self, told: OwnerFile | None) -> Life | None:
        """What the lock proves; None where it proves nothing."""
        if told is None or told.lock is None or told.kernel is None or told.kernel != self._around.kernel():
            return None
        path = path_of(self._folder, told.boot, "lock")
        if file_at(path) != told.lock or not self._around.locks_hold(self._folder.parents[1]):
            return None
        try:
            held = _is_held(path, told.lock)
        except (OSError, RuntimeError):  # another user's; or no locks there
            return None
        return None if held is None else Life.ALIVE if held else Life.DEAD

    def _by_beat(self, boot: str, stamp: FileStamp | None) -> Life:
        now = self._around.clock()
        with self._mutex:
            seen = self._watched.get(boot)
            if seen is None:
                self._watched[boot] = _Watched(stamp, now)
                return Life.DOUBT
            if stamp != seen.stamp and stamp is not None:
                self._watched[boot] = _Watched(stamp, now, moved=True)
                return Life.ALIVE
            seen.silent += min(max(now - seen.looked_at, 0.0), _MOST_PER_LOOK)
            seen.looked_at = now
            if seen.silent >= SILENCE_SECONDS:
                return Life.DEAD
            return Life.ALIVE if seen.moved else Life.DOUBT

    def _stamp(self, boot: str) -> FileStamp | None:
        if not is_token(boot):
            return None
        try:
            status = path_of(self._folder, boot, "json").stat()
        except OSError:
            return None
        return FileStamp(status.st_mtime_ns, status.st_size, status.st_ino)

    def _read_at(self, boot: str, stamp: FileStamp | None) -> OwnerFile | None:
        if stamp is None:
            return None
        with self._mutex:
            known = self._read.get(boot)
            if known is not None and known[0] == stamp:
                return known[1]
            try:
                raw = self._disk.read(path_of(self._folder, boot, "json")) if stamp.size <= _MOST_BYTES else b""
                told = OwnerFile.of(boot, raw)
            except OSError:
                return None
            self._read[boot] = stamp, told
            return told


def is_token(boot: str) -> bool:
    """Whether it may be a part of a file's name."""
    return _TOKEN.fullmatch(boot) is not None


def path_of(folder: Path, boot: str, kind: str) -> Path:
    """Where one of an owner's files lies."""
    if not is_token(boot):
        raise ValueError(f"{boot!r} names no owner")
    return folder / f"{boot}.{kind}"


def file_at(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file that lies there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_held_by_taking(path: Path, wanted: tuple[int, int]) -> bool | None:
    """Whether somebody has locked that very file; None where it is another one. Raises OSError or RuntimeError."""
    lock = process_lock(path, timeout=_PROBE_SECONDS, poll_interval=_PROBE_SECONDS / 10)
    try:
        lock.acquire()
    except Timeout:
        return True
    same = file_at(path) == wanted
    lock.release()
    return False if same else None


if sys.platform == "win32":
    _is_held = _is_held_by_taking
else:

    def _is_held(path: Path, wanted: tuple[int, int]) -> bool | None:
        """The same. Who looks shares his lock with all who look: none of them takes another for the owner."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != wanted:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # some file systems say it like that
                return True
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor too
            return False
        finally:
            os.close(descriptor)
