"""Who is at work on a task now, and whether that process lives.

Each process that works on tasks is known by a random token, holds a lock file of its own and moves a beat:

    owners/<boot>.lock      locked for as long as the process lives
    owners/<boot>.json      the beat, rewritten every few seconds: kind, name, which file the lock is, which kernel
    owners/<boot>.ended     the process has said that it ends in good order

How another process tells whether it lives: `lives.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from filelock import FileLock

from ..chance import CHANCE
from ..wording import Wording
from .disk import TEMP_SUFFIX
from .files import TableFiles
from .lives import BEAT_SECONDS, Life, Lives, OwnerFile, Surroundings, file_at, is_token, path_of
from .locks import process_lock, renewed_in_child
from .records import TaskError, TaskRecord, now_text
from .values import Owner, OwnerKind
from .work import Work

log = logging.getLogger("wfrecovery")

_PROGRAMS: Final[Mapping[str, str]] = {OwnerKind.COMFYUI: "ComfyUI", OwnerKind.MAIN: "main.py"}
_KIND_NAMES: Final[Mapping[str, Wording]] = {
    OwnerKind.COMFYUI: Wording("a ComfyUI", "一个 ComfyUI"),
    OwnerKind.MAIN: Wording("a main.py", "一个 main.py"),
    OwnerKind.FLEET: Wording("another host", "另一台主机"),
    "": Wording("another program", "另一个程序"),
}


class OwnedError(TaskError):
    """Another process is at work on the task."""

    def __init__(self, task_id: str, owner: Owner, name: Wording) -> None:
        self.task_id, self.owner = task_id, owner
        short = owner.boot[:8]
        super().__init__(
            Wording(
                f"{task_id} is left alone: {name.en} is at work on it. If that is gone for good: "
                f"wfrecovery recover --take-over {short}",
                f"{task_id} 保持不动：{name.zh} 正在处理它。如果它确实不在了：wfrecovery recover --take-over {short}",
            )
        )


class Owners:
    """This process as an owner of tasks in one table, and what it knows of the others. For several threads at once."""

    def __init__(self, files: TableFiles, kind: OwnerKind, *, around: Surroundings | None = None) -> None:
        self.folder, self.kind = files.folder / "owners", kind
        self.host = platform.node()
        #: what a person calls this process; it may become known later
        self.name = f"{_PROGRAMS.get(kind, kind.value)} on {self.host or 'this computer'} (process {os.getpid()})"
        self._files, self._disk, self._around = files, files.disk, around or Surroundings()
        self.work = Work()
        #: called now and then by the thread that moves the beats, under no lock of ours
        self.between_beats: Callable[[], object] = lambda: None
        self._mutex = threading.RLock()
        self._me: OwnerFile | None = None
        self._lock: FileLock | None = None
        self._pid, self._unshown = 0, False
        self._lives = Lives(self.folder, self._disk, self._around)
        renewed_in_child(self)

    # ------------------------------------------------------------------ this process

    @property
    def me(self) -> Owner:
        """This process; from the first time on that it is asked for, it is an owner."""
        with self._mutex:
            return Owner(self.kind, self._ourselves().boot)

    def is_me(self, owner: Owner | None) -> bool:
        """Whether that is this very process."""
        return owner is not None and self.in_process(owner.boot)

    def in_process(self, boot: str) -> bool:
        """Whether it goes by that token here; a forked child has inherited the token of its parent."""
        return self._me is not None and self._me.boot == boot and self._pid == os.getpid()

    def beat(self) -> None:
        """Show that this process lives; files that somebody has deleted are made again."""
        with self._mutex:
            if self._me is not None and self._pid == os.getpid():
                self._show(self._me)

    def ending(self) -> None:
        """Note that this process ends in good order: what runs in it is not to blame."""
        me = self._me
        if me is not None and self.in_process(me.boot):
            self._files.atomic.make_folder(self.folder)  # somebody may have deleted it since the last beat
            with contextlib.suppress(FileExistsError):
                self._disk.create(self._path(me.boot, "ended"))

    def not_ending(self) -> None:
        """It does not end after all."""
        if self._me is not None and self.in_process(self._me.boot):
            self._disk.unlink(self._path(self._me.boot, "ended"))

    def close(self) -> None:
        """Be no owner any more, as when the process has ended: whatever it is at work on may be taken."""
        with self._mutex:
            if self._me is not None:
                _here.pop(self._me.boot, None)
            if self._lock is not None and self._pid == os.getpid():
                self._lock.release()
            self._me = self._lock = None

    def _ourselves(self) -> OwnerFile:
        if self._me is None or self._pid != os.getpid():  # a forked child is a process of its own
            self._pid, self._lock, self._unshown = os.getpid(), None, False
            self._me = OwnerFile(uuid.uuid4().hex, self.kind.value, self.name, since=now_text(), host=self.host)
            _here[self._me.boot] = self
            self._show(self._me)
            if self._around.beats:
                _beating(self)
        return self._me

    def _show(self, me: OwnerFile) -> None:
        """Hold our lock, which may have to be made again, and move the beat. Tried again with the next one."""
        path = self._path(me.boot, "lock")
        try:
            self._files.atomic.make_folder(self.folder)
            held = me.lock
            if self._lock is None or held is None or file_at(path) != held:
                held = self._hold(path)
            kernel, computer = self._around.kernel(), self._around.computer()
            self._me = dataclasses.replace(
                me, name=self.name, lock=held, kernel=kernel, computer=computer, beat=me.beat + 1
            )
            self._files.atomic.write(self._path(me.boot, "json"), self._me.to_json())
            self._unshown = False
        except OSError as error:
            if not self._unshown:
                self._unshown = True
                log.warning("[wfrecovery] other programs cannot see that this one lives: %s", error)
            with contextlib.suppress(OSError):  # on a full disk: the time of a file costs no room
                os.utime(self._path(me.boot, "json"))

    def _hold(self, path: Path) -> tuple[int, int] | None:
        """Lock a file of our own; which one that is. None where there are no locks: the beat has to tell."""
        self._disk.make_lock_file(path)
        lock = process_lock(path, timeout=1.0, poll_interval=0.01, thread_local=False)
        try:
            lock.acquire()
        except (OSError, RuntimeError) as error:  # RuntimeError: filelock's word for what it has no means for
            log.debug("[wfrecovery] %s cannot be locked: %s", path, error)
            return None
        before, self._lock = self._lock, lock  # held for as long as the process lives
        if before is not None:
            before.release()
        return file_at(path)

    def _path(self, boot: str, kind: str) -> Path:
        return path_of(self.folder, boot, kind)

    def forked(self) -> None:
        """In a forked child: what other threads held at that moment would be held for ever."""
        self._mutex, self.work = threading.RLock(), Work()
        self._lives = Lives(self.folder, self._disk, self._around)

    # ------------------------------------------------------------------ the others

    def at_work(self, task: TaskRecord) -> Owner | None:
        """The owner that is, or may be, at work on the task, which may be this process; None: nobody is."""
        owner = task.owner
        if owner is None:
            return None
        here = _local(owner.boot)
        if here is not None and here.kind is OwnerKind.MAIN:  # it knows what it is at work on
            return owner if here.work.on(task.task_id) else None
        return None if self.life(owner) is Life.DEAD else owner

    def other_at_work(self, task: TaskRecord) -> Owner | None:
        """The same where it is another process."""
        owner = self.at_work(task)
        return None if self.is_me(owner) else owner

    def check(self, task: TaskRecord) -> None:
        """Raise OwnedError where another process is at work on the task. Under the table's lock: it then stays so."""
        owner = self.other_at_work(task)
        if owner is not None:
            raise OwnedError(task.task_id, owner, self.name_of(owner))

    def check_program(self, task: TaskRecord) -> None:
        """The same where that is another program: one program may have several owners."""
        if task.owner is None or _local(task.owner.boot) is None:
            self.check(task)

    def life(self, owner: Owner) -> Life:
        """Whether an owner lives. To be asked every few seconds: silence is only what was looked at."""
        if self.is_me(owner):
            return Life.OURS
        return Life.ALIVE if _local(owner.boot) is not None else self._lives.of(owner.boot)

    def may_come_back(self, told: OwnerFile) -> bool:
        """Whether a dead one may just be starting again, as another owner. What goes by our name was this program
        itself, which is back."""
        return (told.name, told.host) != (self.name, self.host) and self._lives.may_be_restarted(told.boot)

    def ended_well(self, owner: Owner | None) -> bool:
        """Whether a dead owner is not to be blamed on what ran in it: it ended in good order, or with its kernel."""
        return owner is not None and self._lives.ended_well(owner.boot)

    def begin_anew(self) -> None:
        """Who calls recovers before he does anything else: whatever he has entered before, he has let go of.

        In an asyncio task that is what he has entered into this very table object; with another one, the same task may
        go on with it.
        """
        self.work.end_of_task()
        for owners in list(_here.values()):
            if owners.folder == self.folder:
                owners.work.end_of_thread()

    def lost_power(self, owner: Owner | None) -> bool:
        """Whether an owner ended with its kernel: this computer was started anew since."""
        return owner is not None and self._lives.ended_with_kernel(owner.boot)

    def known(self) -> list[tuple[OwnerFile, Life]]:
        """All that have left a beat, with what is known of their lives; the newest first."""
        boots = (name.removesuffix(".json") for name in self._disk.names(self.folder) if name.endswith(".json"))
        found = (self._lives.told(boot) for boot in boots)
        newest = sorted((told for told in found if told is not None), key=lambda told: told.since, reverse=True)
        return [(told, self.life(Owner(told.kind, told.boot))) for told in newest]

    def name_of(self, owner: Owner) -> Wording:
        """What a person calls it: each computer may have a ComfyUI at 127.0.0.1:8188."""
        told = self._lives.told(owner.boot)
        if told is None or not told.name:
            return _KIND_NAMES.get(owner.kind, Wording(owner.kind, owner.kind))
        if told.host in (self.host, "") or told.host in told.name:
            return Wording(told.name, told.name)
        return Wording(f"{told.name} on {told.host}", f"{told.host} 上的 {told.name}")

    def sweep(self, named: set[str]) -> None:
        """Remove the files of the dead that no record names any more, and that are not just being restarted, and beats
        that they have half written; and those of whoever may be dead, and was not heard of for a day. Under the table's
        lock."""
        names = self._disk.names(self.folder)
        half_written = {name: name[1:].partition(".")[0] for name in names if name.endswith(TEMP_SUFFIX)}
        for boot in {*(name.partition(".")[0] for name in names), *half_written.values()}:
            life = self.life(Owner("", boot)) if is_token(boot) else Life.ALIVE
            for name in (name for name, whose in half_written.items() if life is Life.DEAD and whose == boot):
                self._files.atomic.discard(self.folder / name)
            dead = life is Life.DEAD and not self._lives.may_be_restarted(boot)
            gone = dead or (life is Life.DOUBT and self._lives.is_forgotten(boot))
            for kind in ("lock", "ended", "json") if gone and boot not in named else ():
                self._files.atomic.discard(self._path(boot, kind))


#: The owners in this process: of one's own nothing has to be probed.
_here: weakref.WeakValueDictionary[str, Owners] = weakref.WeakValueDictionary()
_with_beat: weakref.WeakSet[Owners] = weakref.WeakSet()
_beat_thread: list[threading.Thread] = []


def _local(boot: str) -> Owners | None:
    """The owner in this very process, which a forked child is not."""
    found = _here.get(boot)
    return found if found is not None and found.in_process(boot) else None


def _beating(owners: Owners) -> None:
    """Have the one thread of this process move this beat as well."""
    _with_beat.add(owners)
    if not _beat_thread or not _beat_thread[-1].is_alive():  # a forked child has no threads
        _beat_thread[:] = [threading.Thread(target=_beat_all, name="wfrecovery-beat", daemon=True)]
        _beat_thread[0].start()


def _beat_all() -> None:
    pause = threading.Event()
    while True:
        pause.wait(BEAT_SECONDS)
        _round(list(_with_beat))


def _round(everyone: list[Owners], clock: Callable[[], float] = time.monotonic) -> None:
    """All beats; then what each of them does between two, as long as the next beats need not wait for that: a table
    whose lock is held costs each of hundreds a second."""
    for owners in everyone:
        _guarded(owners.beat)
    CHANCE.shuffle(everyone)  # each has its turn some time
    end = clock() + BEAT_SECONDS
    for owners in everyone:
        if clock() < end:
            _guarded(owners.between_beats)


def _guarded(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception:  # whatever it is: the others' beats, and its next one, must move
        log.exception("[wfrecovery] a beat did not move")
