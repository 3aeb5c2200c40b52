"""Other processes that own tasks, told line by line what to do; and a looker whose clock the test moves."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import preloaded
from table_support import job

from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.files import TableFiles
from wfrecovery.bridge.table.lives import BEAT_SECONDS, Surroundings, path_of
from wfrecovery.bridge.table.owners import Owners
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.values import Owner, OwnerKind

#: What the other process runs. It needs the table alone: the whole of `bridge` would take it half a second.
_PROGRAM = """
import sys, types, wfrecovery
bridge = sys.modules["wfrecovery.bridge"] = types.ModuleType("wfrecovery.bridge")
bridge.__path__ = [wfrecovery.__path__[0] + "/bridge"]
import owner_processes
owner_processes.main(*sys.argv[1:])
"""
#: Far more than any owner is waited for.
FOR_EVER = 400.0


class QuickDisk(Disk):
    """What processes see of each other does not depend on fsync."""

    def sync(self, descriptor: int) -> None: ...

    def sync_folder(self, folder: Path) -> None: ...


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Looker:
    """One who would take a task, in this process."""

    def __init__(
        self,
        folder: Path,
        *,
        kernel: str | None = "here",
        computer: str | None = "this one",
        locks_hold: bool = True,
        disk: Disk | None = None,
    ) -> None:
        self.clock = Clock()
        around = Surroundings(
            self.clock, lambda: kernel, lambda _folder: locks_hold, beats=False, computer=lambda: computer
        )
        self.owners = Owners(TableFiles(folder, disk or QuickDisk()), OwnerKind.MAIN, around=around)

    def life(self, boot: str) -> str:
        """What it knows of that owner."""
        return self.owners.life(Owner(OwnerKind.MAIN, boot)).name

    def may_take(self, boot: str) -> bool:
        """Whether it may take a task of that owner now."""
        return self.owners.at_work(task_of(boot)) is None

    def waits_for(self, boot: str, *, every: float = BEAT_SECONDS, meanwhile: Callable[[], object] = int) -> float:
        """After how many seconds of looking it may take a task of that owner; `FOR_EVER`: never."""
        since = self.clock.now
        while not self.may_take(boot):
            if self.clock.now - since >= FOR_EVER:
                return FOR_EVER
            self.clock.now += every
            meanwhile()
        return self.clock.now - since


def task_of(boot: str) -> TaskRecord:
    """A task that `boot` is at work on."""
    return job(1, owner=Owner(OwnerKind.MAIN, boot))


class OwnerProcess:
    """A process that owns tasks. It evaluates what it is asked; at the end it is killed."""

    def __init__(
        self,
        folder: Path,
        *,
        kernel: str | None = "here",
        computer: str = "this one",
        user: int = 0,
        first: str = "0",
    ) -> None:
        self.folder, self._first = folder, first
        command = [sys.executable, "-c", _PROGRAM, str(folder), kernel or "", computer, str(user)]
        paths = os.pathsep.join(str(Path(file).parent) for file in (__file__, preloaded.__file__))
        env = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": paths}
        self.process = preloaded.talking(command, env=env)
        self.children: list[int] = []
        #: its token
        self.boot = ""

    def __enter__(self) -> OwnerProcess:
        self.ask(self._first)
        self.boot = self.ask("owners.me.boot")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if self.process.stdin and self.process.stdout:
            self.process.stdout.close()
            self.process.stdin.close()

    def ask(self, code: str) -> str:
        """What an expression is there, as text."""
        self.begin(code)
        return self.line()

    def begin(self, code: str) -> None:
        """The same; the answer comes with `line`."""
        assert self.process.stdin
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """The next that it says."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait()}"
        return line.rstrip("\n")

    def kill(self) -> None:
        """SIGKILL, and it is gone."""
        self.process.kill()
        self.process.wait()

    def send(self, number: int) -> None:
        """A signal; after SIGSTOP it stands still when this returns."""
        self.process.send_signal(number)
        state = ["ps", "-o", "state=", "-p", str(self.process.pid)]  # it need not be a child of ours
        while number == signal.SIGSTOP and not subprocess.check_output(state, text=True).startswith("T"):
            time.sleep(0.01)

    def beat(self) -> None:
        """Its beat moves, which no thread of its own does."""
        assert self.ask("owners.beat()") == "None"

    def file(self, kind: str) -> Path:
        """One of its files."""
        return path_of(self.folder / "wfrecovery" / "owners", self.boot, kind)


# ------------------------------------------------------------------ in the other process


def refuse(number: int) -> Callable[..., Any]:
    """What a system call does that fails."""

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fails


def fork() -> int:
    """A forked child that lives until it is killed; its id."""
    if child := os.fork():
        return child
    signal.pause()
    os._exit(1)


def fork_and(act: Callable[[], Any]) -> str:
    """What `act` says in a forked child, which ends then."""
    source, sink = os.pipe()
    if os.fork() == 0:
        signal.alarm(60)  # rather dead than hanging
        try:
            os.write(sink, str(act()).encode())
        except BaseException as error:
            os.write(sink, repr(error).encode())
        os._exit(0)
    os.close(sink)
    with os.fdopen(source, encoding="utf-8") as said:
        text = said.read()
    os.wait()
    return text


def fork_of_a_library() -> int | None:
    """The same, as libraries do it."""
    child = multiprocessing.get_context("fork").Process(target=signal.pause)
    child.start()
    return child.pid


def hang(owners: Owners) -> None:
    """A thread moves the beat, and is never done with that."""
    begun, never = threading.Event(), threading.Event()

    class Hanging(QuickDisk):
        def replace(self, source: Path, target: Path) -> None:
            if threading.current_thread() is not threading.main_thread():
                begun.set()
                never.wait()
            super().replace(source, target)

    owners._files.atomic.disk = Hanging()
    threading.Thread(target=owners.beat, daemon=True).start()
    begun.wait()


def without_flock() -> None:
    """As on a file system that has no locks."""
    fcntl.flock = refuse(errno.ENOSYS)  # type: ignore[assignment]


def main(folder: str, kernel: str, computer: str, user: str) -> None:
    """Answers until nobody asks any more."""
    if int(user):
        os.umask(0o077)
        os.setuid(int(user))
    looker = Looker(Path(folder), kernel=kernel or None, computer=computer or None)
    names = {**globals(), "looker": looker, "owners": looker.owners}
    for line in sys.stdin:
        try:
            answer = eval(line, names)
        except Exception as error:
            answer = repr(error)
        print(answer, flush=True)
