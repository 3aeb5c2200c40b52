"""What the table makes belongs to whom the output folder belongs: a container's root and a user beside it share it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image
from table_support import GRAPH, add_attempt, finish, img, job, job_id, pushed

from wfrecovery.bridge.results.contents import Contents
from wfrecovery.bridge.table.content import taken
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import AtomicFiles, Disk
from wfrecovery.bridge.table.locks import held, process_lock
from wfrecovery.bridge.table.records import TaskRecord

if sys.platform == "win32":
    pytest.skip("Windows has no such rights", allow_module_level=True)

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
USER, COLLEAGUE, TEAM = 12_345, 12_346, 23_456


@pytest.fixture
def output() -> Iterator[Path]:
    """An output folder that other users can come to, as pytest's own they cannot."""
    base = Path(tempfile.mkdtemp(prefix="wfrecovery-owner-"))
    base.chmod(0o755)
    (base / "output").mkdir()
    yield base / "output"
    shutil.rmtree(base)


def run_as(uid: int, gid: int, work: Callable[[], object], *, groups: Sequence[int] = (), umask: int = 0o022) -> None:
    """Do it in a process of its own, as another user where that is wanted; an error there is one here."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(uid)
            os.umask(umask)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def whole_life(output: Path, number: int) -> None:
    """Each kind of file once: claim, graph, record, kept copy, quarantine, a finished one, locks, the host's note."""
    table = WorkflowDatabase(output)
    table.create(job(number), GRAPH)
    table.update(job_id(number), finish)
    table.create(img(number), GRAPH)
    picture = output / f"picture{number}.png"
    Image.new("RGB", (4, 4), (number, 0, 0)).save(picture)
    result = Contents(table.files, output).looked_at(taken(output, picture.name))
    assert Contents(table.files, output).keep(img(number).task_id, result)
    table.update(img(number).task_id, add_attempt)
    table.keep_table_id()
    damaged = table.create(job(number + 500), None).task_id
    table.files.active_path(damaged).write_bytes(b"{")
    assert [task.task_id for task in table.active() if task.task_id == damaged] == []
    with held(process_lock(table.folder / "publisher.lock", timeout=0), table.files.disk):
        table.sweep()
    table.claim_id(None)


def made(output: Path) -> dict[Path, os.stat_result]:
    return {path: path.stat() for path in (output / "wfrecovery", *(output / "wfrecovery").rglob("*"))}


def assert_all(output: Path, *, mode: int, uid: int | None = None, gid: int | None = None) -> None:
    """Every file and folder of the table has these rights; `mode` is the folder's."""
    found = made(output)
    kinds = {path.parent.name if path.is_file() else "folder" for path in found}
    assert {"active", "graphs", "corrupt", "kept", "ids", "wfrecovery", "folder"} <= kinds
    for path, status in found.items():
        wanted = mode | 0o700 if path.is_dir() else (mode & 0o666) | 0o600
        assert oct(stat.S_IMODE(status.st_mode)) == oct(wanted), path
        assert uid in (None, status.st_uid), path
        assert gid in (None, status.st_gid), path


@ROOT_ONLY
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_root_in_a_container_and_a_user_beside_it(output: Path, umask: int) -> None:
    os.chown(output, USER, TEAM)
    output.chmod(0o755)
    run_as(0, 0, lambda: whole_life(output, 1), umask=umask)
    assert_all(output, mode=0o755, uid=USER, gid=TEAM)
    run_as(USER, TEAM, lambda: whole_life(output, 2), umask=umask)
    run_as(USER, TEAM, lambda: WorkflowDatabase(output).update(img(1).task_id, delivered))
    run_as(0, 0, lambda: WorkflowDatabase(output).update(img(2).task_id, add_attempt), umask=umask)
    assert_all(output, mode=0o755, uid=USER, gid=TEAM)


def delivered(record: TaskRecord) -> TaskRecord:
    return pushed(finish(record))


@ROOT_ONLY
@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("setgid", [0, stat.S_ISGID])
def test_two_users_of_a_folder_that_their_group_can_write(output: Path, umask: int, setgid: int) -> None:
    os.chown(output, USER, TEAM)
    output.chmod(0o770 | setgid)
    for user, number in ((USER, 1), (COLLEAGUE, 2), (USER, 3)):
        run_as(user, user, lambda number=number: whole_life(output, number), groups=[TEAM], umask=umask)
        assert_all(output, mode=0o770 | setgid, gid=TEAM)
    for user, number in ((COLLEAGUE, 1), (USER, 2)):
        change = lambda number=number: WorkflowDatabase(output).update(img(number).task_id, delivered)  # noqa: E731
        run_as(user, user, change, groups=[TEAM], umask=umask)


@ROOT_ONLY
def test_who_may_not_change_it_goes_on(output: Path) -> None:
    """A user who is not of the folder's group, and may write there as anybody may."""
    os.chown(output, USER, TEAM)
    output.chmod(0o777)
    run_as(COLLEAGUE, COLLEAGUE, lambda: whole_life(output, 1))
    assert_all(output, mode=0o777, uid=COLLEAGUE)


@ROOT_ONLY
def test_what_an_older_version_left_to_root_is_mended_by_root(output: Path) -> None:
    whole_life(output, 1)
    for path in made(output):
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() else 0o644)
    os.chown(output, USER, TEAM)
    with pytest.raises(AssertionError):
        run_as(USER, TEAM, lambda: WorkflowDatabase(output).update(img(1).task_id, add_attempt))
    WorkflowDatabase(output).sweep()
    run_as(USER, TEAM, lambda: WorkflowDatabase(output).update(img(1).task_id, add_attempt))


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o775, 0o2775])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_rights_follow_the_folder_whatever_the_umask(output: Path, mode: int, umask: int) -> None:
    output.chmod(mode)
    run_as(os.geteuid(), os.getegid(), lambda: whole_life(output, 1), umask=umask)
    assert_all(output, mode=mode)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_locks_are_for_all_from_their_first_moment(output: Path, umask: int) -> None:
    output.chmod(0o775)

    def lock_both() -> None:
        table = WorkflowDatabase(output)
        with table.locked(), held(process_lock(table.folder / "publisher.lock", timeout=0), table.files.disk):
            pass

    run_as(os.geteuid(), os.getegid(), lock_both, umask=umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (output / "wfrecovery").glob("*.lock")}
    assert modes == {"table.lock": 0o664, "publisher.lock": 0o664}


def test_an_output_folder_that_has_to_be_made_is_made_as_ever(output: Path) -> None:
    """Not with the rights of the folder around it: that may be everybody's."""
    output.chmod(0o777)
    run_as(os.geteuid(), os.getegid(), lambda: WorkflowDatabase(output / "new").create(job(1)), umask=0o027)
    assert stat.S_IMODE((output / "new").stat().st_mode) == 0o750
    assert stat.S_IMODE((output / "new" / "wfrecovery" / "active").stat().st_mode) == 0o750


@ROOT_ONLY
def test_a_link_in_the_place_of_a_folder_gives_nothing_away(output: Path) -> None:
    """Root must not be led to give another's file to who owns the output folder."""
    os.chown(output, USER, TEAM)
    private = output.parent / "private"
    private.write_text("root's own")
    private.chmod(0o600)
    WorkflowDatabase(output).create(job(1))
    (output / "wfrecovery" / "publisher.lock").symlink_to(private)
    WorkflowDatabase(output).sweep()
    AtomicFiles(Disk(), output).disk.belongs(output / "wfrecovery" / "publisher.lock")
    assert (private.stat().st_uid, stat.S_IMODE(private.stat().st_mode)) == (0, 0o600)


def test_making_lock_files_breaks_no_exclusion(output: Path) -> None:
    """Many take the same new lock at once: one at a time has it, and all have the same file."""
    inside, most, seen = [0], [0], set()
    start = threading.Barrier(8)

    def take() -> None:
        lock = process_lock(output / "a.lock", timeout=20, poll_interval=0.001)
        start.wait()
        for _ in range(50):
            with held(lock, Disk()):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                seen.add((output / "a.lock").stat().st_ino)
                inside[0] -= 1

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(seen)) == ([1], 1)
