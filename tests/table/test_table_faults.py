"""Kills, errors and short writes at every single operation of the task table. Ids as in the catalogue: S1 to S8."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from table_support import (
    GRAPH,
    MONTH,
    Steps,
    WatchedDisk,
    add_attempt,
    all_records,
    finish,
    job,
    job_id,
    kill_myself,
    table_files,
    temp_files,
)

from wfrecovery.bridge.table import disk as disk_module
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import AtomicFiles, Disk, DurabilityUnknownError
from wfrecovery.bridge.table.names import UnknownTaskError
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import SCHEMA, Stage, TaskRecord

Call = Callable[[WorkflowDatabase], object]

#: The task under test is 1; 2 is active and 3 is done, and both must stay as they are.
CALLS: dict[str, Call] = {
    "create": lambda table: table.create(job(4), GRAPH),
    "update": lambda table: table.update(job_id(1), add_attempt),
    "finish": lambda table: table.update(job_id(1), finish),
    "retry": lambda table: table.update(job_id(5), lambda record: record.entering(Stage.QUEUED)),
    "sweep": lambda table: table.sweep(),
    "quarantine": lambda table: list(table.active()),
}
SUBJECT = {"create": 4, "update": 1, "finish": 1, "retry": 5, "sweep": 1, "quarantine": 6}
#: No call takes more operations; the loops below end where a run is no longer hit.
MANY = 60


def fail(record: TaskRecord) -> TaskRecord:
    return record.entering(Stage.FAILED, error_message="x")


def test_what_cannot_be_looked_for_is_not_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A network drive that loses a file for a moment: who takes a record for gone makes a new one in its place. From
    Python 3.14 on `Path.exists` answers no to any error, as `os.path.exists` always did."""
    table = WorkflowDatabase(tmp_path)
    table.create(job(1), GRAPH)
    stat = os.stat

    def stale(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).endswith(f"{job_id(1)}.json"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(Path, "exists", os.path.exists)
    monkeypatch.setattr(os, "stat", stale)
    for look in (lambda: table.files.path_of(job_id(1)), lambda: table.create(job(1), GRAPH)):
        with pytest.raises(OSError, match="Stale"):
            look()
    assert table.files.path_of(job_id(2)) is None


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("master")
    table = WorkflowDatabase(folder)
    for number in (1, 2, 3, 5, 6):
        table.create(job(number), GRAPH)
    table.update(job_id(3), finish)
    table.update(job_id(5), fail)
    return folder


@pytest.fixture
def fresh(master: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A new copy of the same table, prepared for the call that is tested."""
    count = iter(range(100_000))

    def make(name: str) -> Path:
        folder = tmp_path / f"{name}{next(count)}"
        shutil.copytree(master, folder)
        active, done = folder / "wfrecovery" / "active", folder / "wfrecovery" / "done" / MONTH
        if name == "sweep":
            shutil.copy(done / f"{job_id(3)}.json", active)
            (active / f"{job_id(5)}.json").write_bytes((done / f"{job_id(5)}.json").read_bytes())
            (done / f"{job_id(5)}.json").unlink()
            (active / ".x.json.1-0.tmp").write_bytes(b"{")
            (folder / "wfrecovery" / "graphs" / f"{job_id(9)}.json").write_bytes(b"{}")
        if name == "quarantine":
            path = active / f"{job_id(6)}.json"
            path.write_bytes(path.read_bytes()[:100])
        return folder

    return make


def comparable(record: TaskRecord | None) -> Any:
    """What a record says, without the clock."""
    if record is None:
        return None
    data = record_to_json(record)
    data["updated_at"] = data["created_at"] = ""
    for name in ("rebuilt_at", "story"):
        data["metadata"].pop(name, None)
    return data


def read(folder: Path, number: int) -> Any:
    try:
        return comparable(WorkflowDatabase(folder).get(job_id(number)))
    except UnknownTaskError:
        return None


def outcomes(name: str, fresh: Callable[[str], Path]) -> tuple[Any, Any]:
    """The task before and after an undisturbed call."""
    folder = fresh(name)
    if name == "quarantine":  # it cannot be read before
        list(WorkflowDatabase(folder).active())
        return (read(folder, SUBJECT[name]),) * 2
    old = read(folder, SUBJECT[name])
    CALLS[name](WorkflowDatabase(folder))
    return old, read(folder, SUBJECT[name])


def check_reopened(folder: Path, name: str, others: dict[int, Any], allowed: tuple[Any, Any]) -> Any:
    """What must hold after anything: returns the task as it was found."""
    table = WorkflowDatabase(folder, lock_timeout=0)  # 0: whoever died or failed does not hold the lock
    table.sweep()
    list(table.active())
    for number, record in others.items():
        if number != SUBJECT[name]:
            assert comparable(table.get(job_id(number))) == record
    found = read(folder, SUBJECT[name])
    assert found in allowed
    assert temp_files(folder) == []
    for task_id, record in all_records(table).items():
        assert table.graph(task_id) == {"schema": SCHEMA, **GRAPH}, "no record without its graph"
        assert record.task_id == task_id
        in_active, in_done = (
            (table.folder / place / f"{task_id}.json").exists() for place in ("active", f"done/{MONTH}")
        )
        assert in_active != in_done, "exactly one place"
        assert in_done == record.settled
    assert {path.stem for path in (table.folder / "graphs").iterdir()} == set(table.ids()), "a graph alone is litter"
    assert table.update(job_id(2), add_attempt).attempts == 1, "the next update works"
    if found is None:
        table.create(job(SUBJECT[name]), GRAPH)
    return found


def undisturbed(fresh: Callable[[str], Path]) -> dict[int, Any]:
    folder = fresh("plain")
    return {number: read(folder, number) for number in (1, 2, 3, 5, 6)}


def serve_kills(name: str) -> None:
    """Answer each line `step folder` with whether the call was killed. A fork is safe where nobody has a thread."""
    for line in sys.stdin:
        step, _, folder = line.rstrip("\n").partition(" ")
        print("killed" if _killed_at(Path(folder), name, int(step)) else "ended", flush=True)


def _killed_at(folder: Path, name: str, step: int) -> bool:
    child = os.fork()
    if child == 0:
        try:
            CALLS[name](WorkflowDatabase(folder, disk=WatchedDisk(Steps(step, kill_myself))))
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert status == 0, "the call failed without being hit"
    return False


def python(program: str, *arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env={**os.environ, "PYTHONPATH": paths}, text=True, **pipes
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", CALLS)
def test_a_kill_before_any_operation_leaves_the_old_or_the_new(name: str, fresh: Callable[[str], Path]) -> None:
    """S1, S2, S3."""
    others, allowed = undisturbed(fresh), outcomes(name, fresh)
    found = []
    program = "import sys, test_table_faults; test_table_faults.serve_kills(sys.argv[1])"
    with python(program, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for step in range(1, MANY):
            folder = fresh(name)
            print(step, folder, file=server.stdin, flush=True)
            answer = server.stdout.readline()
            if answer != "killed\n":
                break
            found.append(check_reopened(folder, name, others, allowed))
        server.stdin.close()
    assert answer == "ended\n"
    assert 3 < len(found) < MANY - 1, "every operation was hit, and the last run was not"
    if allowed[0] != allowed[1]:
        assert allowed[0] in found
        assert allowed[1] in found


def test_a_killed_process_of_its_own_leaves_the_table_to_the_next(tmp_path: Path) -> None:
    """The same without fork: what dies is a Python that holds the lock in the middle of an update."""
    WorkflowDatabase(tmp_path).create(job(1))
    program = (
        "import sys; from pathlib import Path; from table_support import *\n"
        "steps = Steps(1, kill_myself if hasattr(signal, 'SIGKILL') else lambda: os._exit(9), names=('replace',))\n"
        "WorkflowDatabase(Path(sys.argv[1]), disk=WatchedDisk(steps)).update(job_id(1), add_attempt)\n"
    )
    with python(program, str(tmp_path)) as child:
        assert child.wait() != 0
    assert len(temp_files(tmp_path)) == 1
    table = WorkflowDatabase(tmp_path, lock_timeout=1)
    table.sweep()
    assert temp_files(tmp_path) == []
    assert table.update(job_id(1), add_attempt).attempts == 1


def error_of(number: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["create", "update", "finish", "retry"])
def test_an_error_of_any_operation_is_raised_and_costs_nothing(
    name: str, number: int, for_ever: bool, fresh: Callable[[str], Path]
) -> None:
    """S4, S6. An error of `unlink` while another error is reported may not hide that one."""
    others, allowed = undisturbed(fresh), outcomes(name, fresh)
    for step in range(1, MANY):
        folder = fresh(name)
        steps = Steps(step, error_of(number), for_ever=for_ever)
        table = WorkflowDatabase(folder, disk=WatchedDisk(steps), lock_timeout=0)
        try:
            CALLS[name](table)
        except OSError as error:
            raised = error.errno
        else:
            break
        assert (steps.hit, raised) == (True, number)
        steps.armed = False
        if not for_ever:
            assert temp_files(folder) == []
        assert table.update(job_id(2), lambda record: record) is not None, "the lock is free"
        assert check_reopened(folder, name, others, allowed) in allowed
    assert not steps.hit, "an error was swallowed"


@pytest.mark.parametrize("name", ["sweep", "quarantine"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_mending_that_meets_an_error_can_be_done_again(name: str, number: int, fresh: Callable[[str], Path]) -> None:
    others, allowed = undisturbed(fresh), outcomes(name, fresh)
    for step in range(1, MANY):
        folder = fresh(name)
        steps = Steps(step, error_of(number))
        try:
            CALLS[name](WorkflowDatabase(folder, disk=WatchedDisk(steps), lock_timeout=0))
        except OSError:
            assert name == "sweep", "a damaged record never stops the start"
        check_reopened(folder, name, others, allowed)
        if not steps.hit:
            break
    assert not steps.hit


class ShortDisk(Disk):
    """Takes a part of what it is given, at most `most` bytes; after `full` calls nothing at all."""

    def __init__(self, most: int, full: int | None = None) -> None:
        self.most, self.full, self.writes = most, full, 0

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self.writes += 1
        if self.full is not None and self.writes > self.full:
            return 0
        return super().write(descriptor, data[: self.most])


@pytest.mark.parametrize("most", [1, 7, 100, 400])
def test_short_writes_are_completed(most: int, tmp_path: Path) -> None:
    """S5."""
    disk = ShortDisk(most)
    WorkflowDatabase(tmp_path, disk=disk).create(job(1, product_name="产品" * 50), GRAPH)
    assert disk.writes > 2
    table = WorkflowDatabase(tmp_path)
    assert table.get(job_id(1)).product_name == "产品" * 50
    assert table.graph(job_id(1)) == {"schema": SCHEMA, **GRAPH}


@pytest.mark.parametrize("full", [0, 1, 3])
def test_a_write_without_progress_is_an_error_not_a_loop_or_a_short_record(full: int, tmp_path: Path) -> None:
    """S5."""
    WorkflowDatabase(tmp_path).create(job(1))
    before = table_files(tmp_path)
    with pytest.raises(OSError, match="took no more bytes"):
        WorkflowDatabase(tmp_path, disk=ShortDisk(50, full)).update(job_id(1), add_attempt)
    assert table_files(tmp_path) == before


def test_after_a_failed_sync_nothing_is_renamed_and_the_retry_takes_a_new_file(tmp_path: Path) -> None:
    """S6. A second fsync of the same file may succeed although the data is gone."""
    seen: list[tuple[str, Any]] = []

    def before(name: str, arguments: tuple[Any, ...]) -> None:
        seen.append((name, arguments))
        if name == "sync" and sum(one == "sync" for one, _ in seen) == 1:
            raise OSError(errno.EIO, "sync")

    WorkflowDatabase(tmp_path).create(job(1))
    table = WorkflowDatabase(tmp_path, disk=WatchedDisk(before))
    with pytest.raises(OSError, match="sync"):
        table.update(job_id(1), add_attempt)
    names = [name for name, _ in seen]
    assert names == ["open_temp", "write", "sync", "close", "unlink"]
    litter = seen[-1][1][0]
    seen.clear()
    seen.append(("sync", ()))
    assert table.update(job_id(1), add_attempt).revision == 2
    (source,) = (arguments[0] for name, arguments in seen if name == "replace")
    assert source != litter


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF], ids=errno.errorcode.get)
def test_a_mount_that_cannot_sync_folders_is_accepted_and_named_once(
    number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S7."""
    steps = Steps(1, error_of(number), for_ever=True, names=("sync_folder",))
    table = WorkflowDatabase(tmp_path, disk=WatchedDisk(steps))
    with caplog.at_level(logging.WARNING, "wfrecovery"):
        table.create(job(1), GRAPH)
        table.update(job_id(1), finish)
    assert table.get(job_id(1)).stage is Stage.FINISHED
    assert len([line for line in caplog.messages if "cannot be synced" in line]) == 1


def test_a_failed_sync_of_the_folder_is_never_called_not_saved(tmp_path: Path) -> None:
    """S7. The new record is readable already; only its durability is unknown."""
    WorkflowDatabase(tmp_path).create(job(1))
    steps = Steps(1, error_of(errno.EIO), names=("sync_folder",))
    table = WorkflowDatabase(tmp_path, disk=WatchedDisk(steps))
    with pytest.raises(DurabilityUnknownError, match="saved, but not confirmed") as caught:
        table.update(job_id(1), add_attempt)
    assert caught.value.errno == errno.EIO
    assert table.get(job_id(1)).attempts == 1
    assert table.update(job_id(1), add_attempt).revision == 3


# ------------------------------------------------------------------ S8: Windows


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    slept: list[float] = []
    monkeypatch.setattr(disk_module.time, "sleep", slept.append)
    return slept


def sharing_violation(winerror: int) -> PermissionError:
    error = PermissionError(errno.EACCES, "another program has the file open")
    error.winerror = winerror
    return error


@pytest.mark.parametrize("times", [1, 3, 7])
@pytest.mark.parametrize("winerror", [5, 32, 33])
def test_a_file_that_is_open_elsewhere_for_a_moment_is_waited_for(
    winerror: int, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    table = WorkflowDatabase(tmp_path)
    table.create(job(1))
    real, left = os.replace, [sharing_violation(winerror)] * times

    def replace(source: Path, target: Path) -> None:
        if left:
            raise left.pop()
        real(source, target)

    monkeypatch.setattr(disk_module.os, "replace", replace)
    assert table.update(job_id(1), add_attempt).attempts == 1
    assert table.get(job_id(1)).attempts == 1
    assert len(waits) == times
    assert sum(waits) < 3


@pytest.mark.parametrize("winerror", [5, 32, 33])
def test_a_file_that_stays_open_elsewhere_is_an_error_with_the_old_record_intact(
    winerror: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    table = WorkflowDatabase(tmp_path)
    table.create(job(1))
    before = table_files(tmp_path)
    error = sharing_violation(winerror)
    with monkeypatch.context() as patched:

        def replace(source: Path, target: Path) -> None:
            raise error

        patched.setattr(disk_module.os, "replace", replace)
        with pytest.raises(PermissionError) as caught:
            table.update(job_id(1), add_attempt)
    assert caught.value is error
    assert 0 < sum(waits) < 3
    assert table_files(tmp_path) == before, "no temp file, and no copy in its place"
    assert table.update(job_id(1), add_attempt).attempts == 1


@pytest.mark.parametrize("winerror", [None, 3, 112])
def test_any_other_refusal_is_not_waited_for(
    winerror: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    def replace(source: Path, target: Path) -> None:
        raise sharing_violation(winerror) if winerror else PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(disk_module.os, "replace", replace)
    with pytest.raises(PermissionError):
        WorkflowDatabase(tmp_path).create(job(1))
    assert waits == []


def test_a_record_that_is_being_replaced_is_read_after_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    """S9."""
    table = WorkflowDatabase(tmp_path)
    table.create(job(1))
    real, left = os.open, [sharing_violation(32)] * 2

    def opened(path: Path, flags: int, *mode: int) -> int:
        if left and path.stem == job_id(1) and path.parent.name == "active":
            raise left.pop()
        return real(path, flags, *mode)

    monkeypatch.setattr(disk_module.os, "open", opened)
    assert table.get(job_id(1)).task_id == job_id(1)
    assert len(waits) == 2


def test_a_record_that_moves_to_done_between_two_looks_is_found(tmp_path: Path) -> None:
    """S9."""
    other = WorkflowDatabase(tmp_path)
    other.create(job(1))

    class MovesMeanwhile(Disk):
        def read(self, path: Path, *most: int) -> bytes:
            if path.parent.name == "active" and path.exists():
                other.update(job_id(1), finish)
            return super().read(path, *most)

    assert WorkflowDatabase(tmp_path, disk=MovesMeanwhile()).get(job_id(1)).stage is Stage.FINISHED


@pytest.mark.parametrize("moves", [1, 2, 3, 4])
def test_where_a_record_lies_is_found_while_it_moves_there_and_back(tmp_path: Path, moves: int) -> None:
    """It moves just ahead of each look, so that it never lies where that looks. Whether it is there decides whether its
    id is free, and whether a prompt that still waits has to be recorded anew."""
    table = WorkflowDatabase(tmp_path)
    table.create(job(1))
    places = table.files.active_path(job_id(1)), table.files.done_path(job_id(1))
    places[1].parent.mkdir(parents=True)
    left = [moves]

    class MovesAhead(Disk):
        def exists(self, path: Path) -> bool:
            if path in places and path.exists() and left[0]:
                left[0] -= 1
                path.rename(places[1 - places.index(path)])
            return super().exists(path)

    looking = WorkflowDatabase(tmp_path, disk=MovesAhead())
    assert looking.files.path_of(job_id(1)) in places
    assert left == [0]


def test_a_record_that_comes_back_between_two_looks_is_listed(tmp_path: Path) -> None:
    other = WorkflowDatabase(tmp_path)
    other.create(job(1))
    other.update(job_id(1), fail)

    class ComesBackMeanwhile(Disk):
        def names(self, folder: Path, *, must_be_folder: bool = False) -> list[str]:
            if folder.name == MONTH and other.files.done_path(job_id(1)).exists():
                other.update(job_id(1), lambda record: record.entering(Stage.QUEUED))
            return super().names(folder, must_be_folder=must_be_folder)

    assert list(WorkflowDatabase(tmp_path, disk=ComesBackMeanwhile()).ids()) == [job_id(1)]


def test_one_record_that_cannot_be_read_stops_nobody_and_is_not_moved(tmp_path: Path) -> None:
    """A disk error now is no proof of damage: the file stays where it is."""
    table = WorkflowDatabase(tmp_path)
    for number in (1, 2):
        table.create(job(number))

    class Unreadable(Disk):
        def read(self, path: Path, *most: int) -> bytes:
            if path.stem == job_id(1) and path.exists():
                raise OSError(errno.EIO, "bad sector")
            return super().read(path, *most)

    before = table_files(tmp_path)
    half = WorkflowDatabase(tmp_path, disk=Unreadable())
    assert [record.task_id for record in half.active()] == [job_id(2)]
    assert table_files(tmp_path) == before
    assert any(job_id(1) in line and "bad sector" in line for line in half.corrupt())


# ------------------------------------------------------------------ what a write costs


def operations(folder: Path, call: Call) -> Counter[str]:
    seen: Counter[str] = Counter()
    call(WorkflowDatabase(folder, disk=WatchedDisk(lambda name, _arguments: seen.update([name]))))
    return seen


@pytest.mark.parametrize(
    ("name", "files", "folders"),
    # create: graph and record. finish: the record, its folder, then both folders of the move.
    [("update", 1, 1), ("create", 2, 2), ("finish", 1, 3), ("retry", 1, 3)],
)
def test_each_write_is_synced_exactly_as_often_as_it_has_to_be(
    name: str, files: int, folders: int, fresh: Callable[[str], Path]
) -> None:
    seen = operations(fresh(name), CALLS[name])
    assert (seen["sync"], seen["sync_folder"]) == (files, folders)


def test_the_real_disk_calls_fsync_for_each_sync(fresh: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []
    monkeypatch.setattr(disk_module.os, "fsync", lambda descriptor: (calls.append(descriptor), real(descriptor)))
    CALLS["update"](WorkflowDatabase(fresh("update")))
    assert len(calls) == (1 if sys.platform in ("darwin", "win32") else 2)


@pytest.mark.parametrize("history", [0, 50])
def test_an_update_costs_the_same_with_a_long_history(history: int, tmp_path: Path) -> None:
    table = WorkflowDatabase(tmp_path)
    table.create(job(1))
    for number in range(2, 2 + history):
        table.create(job(number))
        table.update(job_id(number), finish)
    seen = operations(tmp_path, CALLS["update"])
    assert seen == Counter(open_temp=1, write=1, sync=1, close=1, replace=1, sync_folder=1)


def test_a_new_folder_is_synced_into_its_parent(tmp_path: Path) -> None:
    synced: list[Path] = []

    class Noting(Disk):
        def sync_folder(self, folder: Path) -> None:
            synced.append(folder)

    AtomicFiles(Noting()).make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    AtomicFiles(Noting()).make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2, "what is there costs nothing"
