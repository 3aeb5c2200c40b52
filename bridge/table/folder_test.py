"""Which means may be relied on in a folder: two processes try them there.

What it cannot show: that locks exclude another computer. For that, `kernel.py` tells computers apart.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import filelock

from ..wording import Wording, wording_of
from .disk import TEMP_SUFFIX, AtomicFiles, Disk, DurabilityUnknownError
from .folder_holder import LENGTH
from .locks import Mutex

#: Seconds in the folder; then the other process is killed, and what it did not answer is not known.
_TIME_LIMIT: Final = 8.0
#: The same until it has started, which says nothing of the folder: a busy machine is slow, and locks hold there.
_START_LIMIT: Final = 60.0
#: Seconds until it is tried again in a folder where it could not be; twice as long each time.
_AGAIN_AFTER: Final = 60.0
#: Seconds until a dead process's lock must be free: Windows may end it a little later than it says.
_FREE_WITHIN: Final = 1.0
#: In the names of all our files, and in none of the table's own.
_PREFIX: Final = "wfrecovery-test-"
#: Seconds, by the folder's own clock, after which such a file is litter of a process that was killed.
_LITTER_AFTER: Final = 60.0
#: How often a file is replaced under the eyes of the other process, and what by; the last one ends it.
_TOKENS: Final = ("a", "b", "z")
_REPLACES: Final = 40
#: What file systems keep of a time: all, NTFS 100 ns, SMB and ext3 more, exFAT 10 ms, HFS+ 1 s, FAT 2 s.
_GRAINS: Final = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000_000, 1_000, 100, 1)
#: A time that no grain but 1 divides.
_ODD_TIME: Final = 1_700_000_001_123_456_789
#: Nanoseconds that the system's clock may stand still for a file's time: a tick is 1 to 16 ms.
_LONGEST_TICK: Final = 30_000_000
#: How many of them are looked at.
_TICKS: Final = 3
#: Seconds by which the folder's clock may be off before people are told.
_CLOCKS_AGREE: Final = 2.0

Run = Callable[..., "subprocess.Popen[str]"]


@dataclass(frozen=True)
class FolderTest:
    """What was found in a folder. None: it could not be tried."""

    #: a lock excludes the other process, is on the very file that others see, and is free once its holder is dead
    locks: bool | None = None
    #: a file can be replaced, and a reader sees the old or the new one whole
    replace: bool | None = None
    #: the disk confirms files, and the names in the folder where the system can be asked for that (not on Windows)
    sync: bool | None = None
    #: nanoseconds, as seen once; two changes of a file that are closer may have the same time
    clock_resolution: int | None = None
    #: seconds that the folder's clock is ahead of ours, 0 where they agree as exactly as can be seen
    clock_offset: float | None = None
    #: the first thing that went wrong or could not be tried
    problem: Wording | None = None

    @property
    def mode(self) -> Literal["locks", "beat"]:
        """By what one tells that an owner is dead: by its lock at once, or, in any doubt, by its beat alone."""
        return "locks" if self.locks else "beat"

    def wording(self) -> Wording:
        """What follows, in plain words."""
        text = self._owners()
        if self.replace is False:
            text += Wording("; replacing a file is not safe here", "；这里替换文件不安全")
        if self.sync is False:
            text += Wording("; a power cut may lose the newest records", "；断电可能丢失最新的记录")
        if self.clock_offset is not None and abs(self.clock_offset) > _CLOCKS_AGREE:
            off = f"{abs(self.clock_offset):.0f} s"
            ahead = self.clock_offset > 0
            text += Wording(
                f"; the folder's clock is {off} {'ahead' if ahead else 'behind'}",
                f"；该文件夹的时钟{'快' if ahead else '慢'} {off}",
            )
        return text

    def _owners(self) -> Wording:
        if self.locks:
            return Wording(
                "locks can be relied on: a dead owner is known at once", "锁可靠：程序退出后，它的任务立即可以接管"
            )
        why = self.problem or Wording("locks could not be tried", "无法测试锁")
        return why + Wording("; a dead owner is known only after 90 s", "；程序退出后，要等 90 秒才能接管它的任务")


def tested(folder: Path) -> FolderTest:
    """The same, once per process and folder; and again later, ever more seldom, where locks could not be tried."""
    with _testing.lock:
        found, again_at, pause = _tested.get(folder, (FolderTest(), 0.0, _AGAIN_AFTER))
        if found.locks is None and time.monotonic() >= again_at:
            found = examine_folder(folder)
            _tested[folder] = found, time.monotonic() + pause, 2 * pause
        return found


_testing: Final = Mutex()
#: what was found, when it is tried again by the monotonic clock, and how long after that
_tested: Final[dict[Path, tuple[FolderTest, float, float]]] = {}


def examine_folder(folder: Path, *, run: Run = subprocess.Popen, library: Any = filelock) -> FolderTest:
    """Try everything in `folder`, in about 0.15 s; nothing is left there. Never raises OSError. A folder that hangs
    costs 10 s, a machine on which no program starts a minute.

    `run` starts the other process; `library` is the filelock of both.
    """
    found = FolderTest()
    with _Files(folder) as files:
        try:
            files.sweep()
            found = _try_clock(files, found)
            found = _try_sync(files, found)
        except OSError as error:
            return _with_problem(found, _unwritable(folder, error))
        try:
            return _try_with_other(files, found, run, library)
        except _NoAnswerError as error:
            return _with_problem(found, error.wording)


class _NoAnswerError(Exception):
    """The second process could not be asked."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.wording = Wording(f"locks could not be tried ({why})", f"无法测试锁（{why}）")


class _Files:
    """The names of one test, all with a suffix that everybody takes for unfinished, and all removed at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stem = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self.lock, self.data, self.new = (folder / f"{stem}.{name}{TEMP_SUFFIX}" for name in ("lock", "data", "new"))

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for path in (self.lock, self.data, self.new):
            with contextlib.suppress(OSError):  # a later test sweeps it
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a process left that was killed in the middle. A file of ours tells what the folder's time is."""
        self.data.write_bytes(_TOKENS[0].encode() * LENGTH)
        now = self.data.stat().st_mtime
        for path in self.folder.glob(f"*{_PREFIX}*{TEMP_SUFFIX}"):
            with contextlib.suppress(OSError):  # gone meanwhile, or not ours to remove
                if now - path.stat().st_mtime > _LITTER_AFTER:
                    path.unlink()


def _try_clock(files: _Files, found: FolderTest) -> FolderTest:
    """First what the file system keeps of a time, then how often the time that it takes goes on."""
    before = time.time_ns()
    files.new.write_bytes(b"0")
    written, after = files.new.stat().st_mtime_ns, time.time_ns()
    tick = _tick(files.new, written)
    os.utime(files.new, ns=(_ODD_TIME, _ODD_TIME))
    kept = files.new.stat().st_mtime_ns
    resolution = max(tick, next(grain for grain in _GRAINS if kept % grain == 0))
    near = max(resolution, _LONGEST_TICK)
    offset = 0.0 if before - near <= written <= after + near else (written - (before + after) // 2) / 1e9
    return replace(found, clock_resolution=resolution, clock_offset=offset)


def _tick(path: Path, first: int) -> int:
    """Nanoseconds to the next time that a change of `path` gets; 0 where that is too long to wait for.

    The shortest of a few: on a busy machine a pause of ours would pass for one of the clock.
    """
    ticks: list[int] = []
    end = time.monotonic_ns() + _TICKS * _LONGEST_TICK
    while len(ticks) < _TICKS and time.monotonic_ns() < end:
        path.write_bytes(b"1")
        later = path.stat().st_mtime_ns
        if later != first:
            ticks.append(max(0, later - first))
            first = later
    return min(ticks, default=0)


def _try_sync(files: _Files, found: FolderTest) -> FolderTest:
    """A folder that cannot be synced at all is no error for the table, but a fact."""
    disk = _WatchedDisk()
    try:
        AtomicFiles(disk).write(files.new, b"0")
    except DurabilityUnknownError:
        disk.refused = True
    return replace(found, sync=not disk.refused)


class _WatchedDisk(Disk):
    refused = False

    def sync_folder(self, folder: Path) -> None:
        try:
            super().sync_folder(folder)
        except OSError:
            self.refused = True


def _try_with_other(files: _Files, found: FolderTest, run: Run, library: Any) -> FolderTest:
    with _other_process(files, run, library) as (other, limited):
        _answer(other, "ready")
        limited(_TIME_LIMIT)
        file_id = int(_answer(other, "held"))
        same = file_id != 0 and file_id == _file_id(files.lock)
        excludes = not _can_lock(files.lock, library, 0)
        replaced = _replace_often(files)
        found = replace(found, replace=replaced and _answer(other, "whole", "torn") == "whole")
        other.kill()
        other.wait()
        free = _can_lock(files.lock, library, _FREE_WITHIN)
    found = replace(found, locks=same and excludes and free)
    for well, problem in (
        (excludes, Wording("locks do not exclude other programs here", "这里的锁不能排除其他程序")),
        (free, Wording("the lock of a dead program stays held here", "程序退出后，这里的锁不会释放")),
        (same, Wording("files have no id of their own here", "这里的文件没有可靠的编号")),
        (found.replace, Wording("replacing a file is not safe here", "这里替换文件不安全")),
    ):
        if not well:
            found = _with_problem(found, problem)
    return found


@contextlib.contextmanager
def _other_process(
    files: _Files, run: Run, library: Any
) -> Iterator[tuple[subprocess.Popen[str], Callable[[float], None]]]:
    """The process of `folder_holder.py`; killed at the end, or when the time is over, which the second one of both
    gives it anew."""
    python = sys.executable or ""
    if (
        not Path(python).name.lower().startswith(("python", "pypy"))
    ):  # a program with Python inside would open its window
        raise _NoAnswerError("no Python for a second process")
    home = Path(library.__file__).parent.parent
    script = Path(__file__).with_name("folder_holder.py")
    command = [python, "-I", "-S", str(script), str(files.lock), str(files.data), str(home), *_TOKENS]
    try:
        other = run(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            errors="replace",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError) as error:
        raise _NoAnswerError(str(error)) from error
    limits: list[threading.Timer] = []

    def limited(seconds: float) -> None:
        for limit in limits:
            limit.cancel()
        limits.append(threading.Timer(seconds, other.kill))
        limits[-1].daemon = True
        limits[-1].start()

    limited(_START_LIMIT)
    try:
        with other:
            try:
                yield other, limited
            except (OSError, NotImplementedError) as error:  # filelock's words for a folder that has no locks
                raise _NoAnswerError(str(error)) from error
            finally:
                other.kill()
    finally:
        limits[-1].cancel()


def _answer(other: subprocess.Popen[str], *expected: str) -> str:
    """The rest of its next line after one of the words `expected`, or that word."""
    line = other.stdout.readline().strip() if other.stdout else ""
    word, _, rest = line.partition(" ")
    if word not in expected:
        raise _NoAnswerError(rest or f"a second process ended with status {other.wait()}")
    return rest or word


def _file_id(path: Path) -> int:
    """As one learns it who opens the file: its name alone may say something else."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        opened, named = os.fstat(descriptor).st_ino, path.stat().st_ino
    finally:
        os.close(descriptor)
    return opened if opened == named else 0


def _can_lock(path: Path, library: Any, seconds: float) -> bool:
    lock = library.FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=seconds, poll_interval=0.002)
    except library.Timeout:
        return False
    lock.release()
    return True


def _replace_often(files: _Files) -> bool:
    disk = Disk()
    try:
        for number in range(_REPLACES):
            token = _TOKENS[-1] if number == _REPLACES - 1 else _TOKENS[number % 2]
            files.new.write_bytes(token.encode() * LENGTH)
            disk.replace(files.new, files.data)
    except OSError:
        return False
    return True


def _with_problem(found: FolderTest, problem: Wording) -> FolderTest:
    return found if found.problem else replace(found, problem=problem)


def _unwritable(folder: Path, error: OSError) -> Wording:
    why = wording_of(error.strerror or str(error))
    return Wording(f"nothing can be tried in {folder}: ", f"无法在 {folder} 里测试：") + why
