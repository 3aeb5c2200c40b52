"""Who may take a task, and when: real processes that are killed, stopped, forked, and whose files are meddled with.

The clock of the one who looks is moved by hand. `waits_for` says after how many seconds he may take the task.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, UnixFileLock
from owner_processes import FOR_EVER, Looker, OwnerProcess, QuickDisk, task_of
from plugin_support import until

from wfrecovery.bridge.table import lives
from wfrecovery.bridge.table.lives import SILENCE_SECONDS, Life, OwnerFile
from wfrecovery.bridge.table.owners import OwnedError
from wfrecovery.bridge.table.record_json import record_from_json, record_to_json
from wfrecovery.bridge.table.values import Owner, OwnerKind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL, no fork")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user")
AT_ONCE = 0.0


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[OwnerProcess]:
    with OwnerProcess(tmp_path) as process:
        yield process


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    return Looker(tmp_path)


# ------------------------------------------------------------------ a lock that proves something


def test_who_lives_is_left_alone_and_who_is_killed_is_gone_at_once(owner: OwnerProcess, looker: Looker) -> None:
    assert looker.waits_for(owner.boot) == FOR_EVER
    with pytest.raises(OwnedError, match="--take-over"):
        looker.owners.check(task_of(owner.boot))
    owner.kill()
    looker.clock.now += 1  # a look is good for so long
    assert looker.waits_for(owner.boot) == AT_ONCE


def test_who_was_never_looked_at_is_gone_at_once(owner: OwnerProcess, looker: Looker) -> None:
    owner.kill()
    assert looker.waits_for(owner.boot) == AT_ONCE


def test_who_becomes_another_program_is_gone_at_once(owner: OwnerProcess, looker: Looker) -> None:
    """`execv` keeps the process id, and its beginning."""
    program = "import sys; print('another', flush=True); sys.stdin.read()"
    assert owner.ask(f"os.execv(sys.executable, [sys.executable, '-c', {program!r}])") == "another"
    assert looker.waits_for(owner.boot) == AT_ONCE
    assert owner.process.poll() is None


@pytest.mark.parametrize("how", ["fork()", "fork_of_a_library()"])
def test_a_forked_child_does_not_keep_its_dead_parent_alive(owner: OwnerProcess, looker: Looker, how: str) -> None:
    owner.children.append(int(owner.ask(how)))
    assert looker.waits_for(owner.boot) == FOR_EVER
    owner.kill()

    def is_gone() -> bool:
        looker.clock.now += 1
        return looker.waits_for(owner.boot) == AT_ONCE

    until(is_gone)  # on a busy machine the child comes late to what it does first: to let go of the lock
    os.kill(owner.children[0], 0)


@pytest.fixture
def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks takes the lock, and filelock removes the file of a lock that is given back, unless told not to."""
    give_back = UnixFileLock._release

    def release(lock: UnixFileLock) -> None:
        give_back(lock)
        if not lock.preserve_lock_file:
            Path(lock.lock_file).unlink()

    monkeypatch.setattr(UnixFileLock, "_release", release)
    monkeypatch.setattr(lives, "_is_held", lives._is_held_by_taking)


def test_on_windows_a_look_takes_no_proof_away(as_on_windows: None, owner: OwnerProcess, looker: Looker) -> None:
    assert looker.life(owner.boot) == "ALIVE"
    owner.kill()
    for another in (looker, looker, looker, Looker(owner.folder)):
        another.clock.now += 2
        assert another.waits_for(owner.boot) == AT_ONCE


def test_on_windows_who_owns_no_more_leaves_the_proof_of_it(as_on_windows: None, tmp_path: Path) -> None:
    owners = Looker(tmp_path).owners
    boot = owners.me.boot
    owners.close()
    assert Looker(tmp_path).waits_for(boot) == AT_ONCE


def test_a_forked_child_that_takes_something_is_an_owner_of_its_own(owner: OwnerProcess, looker: Looker) -> None:
    child = owner.ask("fork_and(lambda: owners.me.boot)")
    assert len(child) == len(owner.boot)
    assert child != owner.boot
    assert looker.waits_for(child) == AT_ONCE
    assert looker.waits_for(owner.boot) == FOR_EVER, "the child's end is not its parent's"
    assert owner.ask(f"fork_and(lambda: owners.life(Owner('main', {owner.boot!r})).name)") == "ALIVE"
    assert owner.ask("fork_and(lambda: (owners.beat(), owners.close()))") == "(None, None)"
    assert looker.waits_for(owner.boot) == FOR_EVER
    assert owner.ask("owners.me.boot") == owner.boot


def test_who_forks_while_a_beat_moves_has_a_child_that_can_own(owner: OwnerProcess) -> None:
    """The thread that moves the beat does not exist in the child: what it held is nobody's there."""
    owner.ask("hang(owners)")
    assert len(owner.ask("fork_and(lambda: owners.me.boot)")) == len(owner.boot)


def test_who_stands_still_stays_the_owner(owner: OwnerProcess, looker: Looker) -> None:
    owner.send(signal.SIGSTOP)
    assert looker.waits_for(owner.boot) == FOR_EVER
    owner.kill()
    looker.clock.now += 1
    assert looker.waits_for(owner.boot) == AT_ONCE


def test_an_orderly_end_is_known_of_the_dead(owner: OwnerProcess, looker: Looker) -> None:
    of = Owner(OwnerKind.MAIN, owner.boot)
    owner.ask("owners.ending()")
    assert looker.owners.ended_well(of)
    owner.ask("owners.not_ending()")
    assert not looker.owners.ended_well(of)
    assert owner.ask("[owners.ending(), owners.ending()]") == "[None, None]"
    owner.kill()
    assert (looker.owners.ended_well(of), looker.owners.lost_power(of)) == (True, False)


# ------------------------------------------------------------------ files that somebody meddles with


@pytest.mark.parametrize("kinds", [("lock",), ("json",), ("lock", "json")], ids="+".join)
def test_who_makes_deleted_files_again_was_never_gone(
    owner: OwnerProcess, looker: Looker, kinds: tuple[str, ...]
) -> None:
    assert not looker.may_take(owner.boot)
    for kind in kinds:
        owner.file(kind).unlink()
    for _ in range(17):
        looker.clock.now += 5
        assert not looker.may_take(owner.boot), "a file that is gone proves nothing"
    owner.beat()
    looker.clock.now += 5
    assert looker.waits_for(owner.boot) == FOR_EVER
    assert looker.owners.life(Owner(OwnerKind.MAIN, owner.boot)) is Life.ALIVE
    owner.kill()
    looker.clock.now += 1
    assert looker.waits_for(owner.boot) == AT_ONCE


@pytest.mark.parametrize("kinds", [("lock",), ("json",), ("lock", "json")], ids="+".join)
@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_without_its_files_who_is_silent_is_gone_after_90_seconds(
    owner: OwnerProcess, looker: Looker, kinds: tuple[str, ...], end: str
) -> None:
    owner.kill() if end == "killed" else owner.send(signal.SIGSTOP)
    for kind in kinds:
        owner.file(kind).unlink()
    assert looker.waits_for(owner.boot) == SILENCE_SECONDS


def test_the_whole_folder_is_deleted_under_a_living_one(owner: OwnerProcess, looker: Looker) -> None:
    shutil.rmtree(owner.folder / "wfrecovery")
    assert not looker.may_take(owner.boot)
    owner.beat()
    looker.clock.now += 5
    assert looker.waits_for(owner.boot) == FOR_EVER


def copied(lock: Path) -> None:
    shutil.copy2(lock, lock.with_suffix(".copy"))
    lock.with_suffix(".copy").replace(lock)


def moved(lock: Path) -> None:
    lock.rename(lock.with_suffix(".old"))


def made_again(lock: Path) -> None:
    lock.rename(lock.with_suffix(".old"))  # else the new one may have its number
    lock.touch()


def soft(lock: Path) -> None:
    """What filelock leaves where a file system has no locks."""
    made_again(lock)
    lock.write_text(f"{os.getpid()}\nsomewhere\n")


def linked(lock: Path) -> None:
    moved(lock)
    lock.symlink_to(lock.with_suffix(".other"))
    lock.with_suffix(".other").touch()


def in_the_way(lock: Path) -> None:
    moved(lock)
    lock.mkdir()


@pytest.mark.parametrize("meddle", [copied, moved, made_again, soft, linked, in_the_way])
def test_a_free_lock_that_is_another_file_proves_nothing(owner: OwnerProcess, looker: Looker, meddle: object) -> None:
    """Both of one who lives and of one who is dead; the living one mends it where it can, and moves its beat anyway."""
    assert callable(meddle)
    meddle(owner.file("lock"))
    assert looker.waits_for(owner.boot, meanwhile=owner.beat) == FOR_EVER
    owner.kill()
    looker.clock.now += 1
    mended = meddle not in (linked, in_the_way)
    assert looker.waits_for(owner.boot) == (AT_ONCE if mended else SILENCE_SECONDS)


def test_a_free_lock_that_is_another_file_is_believed_of_nobody(owner: OwnerProcess, looker: Looker) -> None:
    made_again(owner.file("lock"))
    assert looker.waits_for(owner.boot) == SILENCE_SECONDS


def test_a_lock_that_is_replaced_while_it_is_looked_at_proves_nothing(
    owner: OwnerProcess, looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = lives.file_at(owner.file("lock"))
    made_again(owner.file("lock"))
    monkeypatch.setattr(lives, "file_at", lambda _: noted)  # as it was a moment ago
    assert looker.waits_for(owner.boot) == SILENCE_SECONDS


@as_root
@pytest.mark.parametrize("hidden", ["lock", "both", "none"])
def test_files_of_another_user_prove_nothing_unless_they_can_be_read(hidden: str) -> None:
    """Root may open them, and knows at once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        with (
            OwnerProcess(folder, user=12345) as owner,
            OwnerProcess(folder, user=12346, first="os.makedirs(looker.owners.folder, exist_ok=True)") as other,
        ):
            for kind in {"lock": ["lock"], "both": ["lock", "json"], "none": []}[hidden]:
                owner.file(kind).chmod(0o600)  # as under an older umask: ours follow the folder's mode
            assert other.ask(f"looker.may_take({owner.boot!r})") == "False"
            owner.kill()
            other.ask("setattr(looker.clock, 'now', 2000)")
            after = AT_ONCE if hidden == "none" else SILENCE_SECONDS - 10
            assert float(other.ask(f"looker.waits_for({owner.boot!r})")) == after
            assert Looker(folder).waits_for(owner.boot) == AT_ONCE


GARBAGE = {
    "empty": b"",
    "torn": b'{"kind": "main", "lock": [1',
    "null": b"null",
    "a list": b"[]",
    "zeros": bytes(300),
    "no text": b"\xff\xfe\x00",
    "foreign": b'{"name": {"a": [1]}, "lock": ["1", 2], "kernel": 5, "beat": "x", "since": [], "kind": null}',
    "a number": b"9" * 10_000,
    "nested": b"[" * 200_000,
    "numbers": b'{"lock": [1e400, NaN], "kernel": "here", "beat": true}',
    "of a negative file": b'{"lock": [-1, -1], "kernel": "here"}',
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE)
def test_what_cannot_be_understood_proves_nothing(looker: Looker, raw: bytes) -> None:
    folder = looker.owners.folder
    folder.mkdir(parents=True)
    (folder / "a.json").write_bytes(raw)
    (folder / "a.lock").touch()
    assert looker.waits_for("a") == SILENCE_SECONDS
    assert looker.owners.name_of(Owner(OwnerKind.MAIN, "a")).zh
    assert looker.owners.known()
    assert not looker.owners.lost_power(Owner(OwnerKind.MAIN, "a"))


@pytest.mark.parametrize("raw", ["a boot", 7, [], {}, {"kind": "main"}, {"kind": "main", "boot": 7}], ids=str)
def test_an_owner_that_is_no_owner_of_ours_is_waited_for(looker: Looker, raw: Any) -> None:
    """In a record of a foreign program, or a damaged one: somebody is at work on it."""
    record = record_to_json(task_of("somebody"))
    task = record_from_json({**record, "metadata": {**record["metadata"], "owner": raw}}, record["task_id"])
    with pytest.raises(OwnedError, match="is at work on it"):
        looker.owners.check(task)
    assert task.owner is not None
    assert looker.waits_for(task.owner.boot) == SILENCE_SECONDS


def test_a_file_that_is_far_too_large_is_not_read(looker: Looker) -> None:
    folder = looker.owners.folder
    folder.mkdir(parents=True)
    with (folder / "a.json").open("wb") as file:
        file.truncate(1 << 38)
    assert looker.waits_for("a") == SILENCE_SECONDS


def test_a_folder_in_the_place_of_a_beat_proves_nothing(looker: Looker) -> None:
    (looker.owners.folder / "a.json").mkdir(parents=True)
    assert looker.waits_for("a") == SILENCE_SECONDS
    assert looker.owners.known() == []


TOKENS = ["", ".", "..", "../x", "a/b", "/etc/x", "x.lock", "a" * 10_000, "主机", "a\0b", "a\n", "\ud800", "a:b"]


@pytest.mark.parametrize("token", TOKENS, ids=ascii)
def test_a_token_that_names_no_file_never_becomes_a_path(looker: Looker, tmp_path: Path, token: str) -> None:
    looker.owners.folder.mkdir(parents=True)
    for name in ("x.json", "x.lock", "x.ended"):
        (looker.owners.folder.parent / name).write_bytes(b'{"lock": [1, 2], "kernel": "here"}')
    before = sorted(tmp_path.rglob("*"))
    assert looker.waits_for(token) == SILENCE_SECONDS
    owner = Owner(OwnerKind.MAIN, token)
    assert not looker.owners.ended_well(owner)
    assert not looker.owners.lost_power(owner)
    assert looker.owners.name_of(owner).en == "a main.py"
    looker.owners.sweep(set())
    assert sorted(tmp_path.rglob("*")) == before


# ------------------------------------------------------------------ where the beat alone decides


@pytest.fixture
def doubter(tmp_path: Path) -> Looker:
    """One who knows that locks exclude nobody in this folder."""
    return Looker(tmp_path, locks_hold=False)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_where_locks_do_not_exclude_the_beat_decides(owner: OwnerProcess, doubter: Looker, end: signal.Signals) -> None:
    assert doubter.waits_for(owner.boot, meanwhile=owner.beat) == FOR_EVER
    assert doubter.owners.life(Owner(OwnerKind.MAIN, owner.boot)) is Life.ALIVE
    owner.send(end)
    assert doubter.waits_for(owner.boot) == SILENCE_SECONDS


def test_who_goes_on_after_he_was_given_up_is_an_owner_again(owner: OwnerProcess, doubter: Looker) -> None:
    owner.send(signal.SIGSTOP)
    assert doubter.waits_for(owner.boot) == SILENCE_SECONDS
    doubter.owners.sweep(set())
    assert not owner.file("lock").exists()
    owner.send(signal.SIGCONT)
    owner.beat()
    doubter.clock.now += 5
    assert doubter.owners.life(Owner(OwnerKind.MAIN, owner.boot)) is Life.ALIVE
    assert owner.file("lock").exists()


@pytest.mark.parametrize(("theirs", "ours"), [("there", "here"), ("", "here"), ("here", None), ("", None)], ids=str)
def test_a_lock_of_another_kernel_proves_nothing(tmp_path: Path, theirs: str, ours: str | None) -> None:
    """Another computer, another start of this one, or a kernel of which nothing is known."""
    looker = Looker(tmp_path, kernel=ours)
    with OwnerProcess(tmp_path, kernel=theirs) as owner:
        of = Owner(OwnerKind.MAIN, owner.boot)
        assert looker.waits_for(owner.boot, meanwhile=owner.beat) == FOR_EVER
        owner.kill()
        assert looker.waits_for(owner.boot) == SILENCE_SECONDS
        with_power = theirs == "there" and ours is not None
        assert (looker.owners.lost_power(of), looker.owners.ended_well(of)) == (with_power, with_power)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("another", "this one"), ("", "this one"), ("this one", None), ("", None)], ids=str
)
def test_who_was_killed_on_another_computer_has_not_lost_its_power(
    tmp_path: Path, theirs: str, ours: str | None
) -> None:
    """Also where nobody knows which one it was: an older program, or a container, has not said so."""
    looker = Looker(tmp_path, kernel="another", computer=ours)
    with OwnerProcess(tmp_path, computer=theirs) as owner:
        owner.kill()
        of = Owner(OwnerKind.MAIN, owner.boot)
        assert looker.waits_for(owner.boot) == SILENCE_SECONDS
        assert (looker.owners.lost_power(of), looker.owners.ended_well(of)) == (False, False)


def test_a_file_system_without_locks(tmp_path: Path) -> None:
    """The owner cannot lock its file; its beat is there from the first moment on."""
    with OwnerProcess(tmp_path, first="without_flock()") as owner:
        told = OwnerFile.of(owner.boot, owner.file("json").read_bytes())
        assert (told.lock, told.beat) == (None, 1)
        for looker in (Looker(tmp_path), Looker(tmp_path, locks_hold=False)):
            assert looker.waits_for(owner.boot, meanwhile=owner.beat) == FOR_EVER
            assert looker.owners.life(Owner(OwnerKind.MAIN, owner.boot)) is Life.ALIVE
        owner.kill()
        assert Looker(tmp_path).waits_for(owner.boot) == SILENCE_SECONDS


def test_a_lock_that_somebody_else_holds_keeps_no_beat_from_moving(owner: OwnerProcess, doubter: Looker) -> None:
    made_again(owner.file("lock"))
    with FileLock(owner.file("lock")):
        owner.beat()
    told = OwnerFile.of(owner.boot, owner.file("json").read_bytes())
    assert (told.lock, told.beat) == (None, 2)
    owner.beat()
    assert OwnerFile.of(owner.boot, owner.file("json").read_bytes()).lock is not None


def test_on_a_full_disk_the_time_of_the_beat_moves(owner: OwnerProcess, doubter: Looker) -> None:
    owner.ask("setattr(QuickDisk, 'open_temp', refuse(errno.ENOSPC))")
    before = owner.file("json").read_bytes()
    assert doubter.waits_for(owner.boot, meanwhile=owner.beat) == FOR_EVER
    assert owner.file("json").read_bytes() == before
    owner.kill()
    assert doubter.waits_for(owner.boot) == SILENCE_SECONDS


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_who_can_write_nothing_is_told_so_once_and_works_on(tmp_path: Path, number: int) -> None:
    class ReadOnly(QuickDisk):
        def make_folder(self, folder: Path) -> None:
            raise OSError(number, os.strerror(number), str(folder))

    looker = Looker(tmp_path, disk=ReadOnly())
    assert looker.owners.life(looker.owners.me) is Life.OURS
    looker.owners.beat()
    looker.owners.sweep(set())
    assert Looker(tmp_path).owners.known() == []


def test_an_hour_between_two_looks_is_no_silence_of_an_hour(owner: OwnerProcess, doubter: Looker) -> None:
    """The looker itself was stopped, or the computer slept."""
    assert not doubter.may_take(owner.boot)
    for _ in range(7):
        doubter.clock.now += 3600
        assert not doubter.may_take(owner.boot)
    owner.beat()
    doubter.clock.now += 3600
    assert doubter.owners.life(Owner(OwnerKind.MAIN, owner.boot)) is Life.ALIVE


def test_a_clock_that_goes_back_is_no_silence(owner: OwnerProcess, doubter: Looker) -> None:
    for now in (1000, 900, 900.1, 800, 0, -50, 5):
        doubter.clock.now = now
        assert not doubter.may_take(owner.boot)
    assert doubter.waits_for(owner.boot) == SILENCE_SECONDS - 10


@pytest.mark.parametrize("day", [86_400, -86_400])
def test_the_time_of_the_day_may_be_set(owner: OwnerProcess, doubter: Looker, day: int) -> None:
    """What a file's time says is never compared with a clock, only with what it said before."""

    def beat_at_that_time() -> None:
        owner.beat()
        status = owner.file("json").stat()
        os.utime(owner.file("json"), ns=(status.st_atime_ns, status.st_mtime_ns + day * 10**9))

    assert not doubter.may_take(owner.boot)
    assert doubter.waits_for(owner.boot, meanwhile=beat_at_that_time) == FOR_EVER
    owner.kill()
    assert doubter.waits_for(owner.boot) == SILENCE_SECONDS


# ------------------------------------------------------------------ many


@pytest.mark.parametrize("lives", [True, False])
def test_who_looks_at_the_same_time_is_not_taken_for_the_owner(
    owner: OwnerProcess, tmp_path: Path, lives: bool
) -> None:
    if not lives:
        owner.kill()
    look = f"{{Looker(looker.owners.folder.parents[1]).life({owner.boot!r}) for _ in range(150)}}"
    with contextlib.ExitStack() as others:
        processes = [others.enter_context(OwnerProcess(tmp_path)) for _ in range(4)]
        for process in processes:
            process.begin(look)
        assert {process.line() for process in processes} == {"{'ALIVE'}" if lives else "{'DEAD'}"}


def test_only_files_of_the_dead_that_no_record_names_are_removed(owner: OwnerProcess, looker: Looker) -> None:
    folder = looker.owners.folder
    with OwnerProcess(owner.folder) as dead, OwnerProcess(owner.folder) as named:
        left = [named.file("json"), named.file("lock"), owner.file("json"), owner.file("lock")]
        for process in (dead, named, owner):
            process.ask("owners.ending()")
            litter = folder / f".{process.boot}.json.77-0.tmp"
            litter.touch()
            left += [process.file("ended"), litter]
    foreign = [folder / name for name in ("notes.txt", "doubt.json", ".hidden", "table.lock.tmp")]
    for file in foreign:
        file.write_text("{}")
    looker.owners.sweep({named.boot})
    assert dead.file("json").exists(), "it may just be starting again"
    os.utime(dead.file("json"), (0, 0))  # long ago
    looker.owners.sweep({named.boot})
    gone = {dead.file("ended"), *(folder / f".{process.boot}.json.77-0.tmp" for process in (dead, named))}
    assert set(folder.iterdir()) == {*left, *foreign} - gone


def test_files_from_before_a_start_of_the_computer_do_not_stay_for_ever(owner: OwnerProcess, looker: Looker) -> None:
    """Nothing proves that those are dead before they were silent for 90 s, and who starts looks at them once."""
    days_ago = time.time() - 3 * 24 * 3600
    boots = "former", "named", "lately"
    for boot in boots:
        for kind in ("json", "lock"):
            (looker.owners.folder / f"{boot}.{kind}").write_bytes(OwnerFile(boot, kernel="former").to_json())
        if boot != "lately":
            os.utime(looker.owners.folder / f"{boot}.json", (days_ago, days_ago))
    os.utime(owner.file("json"), (days_ago, days_ago))  # it was stopped all the time
    looker.owners.sweep({"named"})
    left = {path.name.partition(".")[0] for path in looker.owners.folder.iterdir()}
    assert left == {owner.boot, "named", "lately"}


def test_a_beat_costs_one_reading_and_a_look_none(looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred owners, as after months of batches: their files are read once, whoever asks, and how often."""
    folder = looker.owners.folder
    folder.mkdir(parents=True)
    boots = [f"owner{number}" for number in range(200)]
    for boot in boots:
        (folder / f"{boot}.json").write_bytes(OwnerFile(boot, "main", boot, since="2026").to_json())
    read: list[Path] = []
    monkeypatch.setattr(QuickDisk, "read", lambda _self, path: read.append(path) or path.read_bytes())
    for _ in range(3):
        assert {told.boot for told, _ in looker.owners.known()} == set(boots)
        looker.clock.now += 5
    assert len(read) == 200
    (folder / "owner7.json").write_bytes(b"{}")
    looker.owners.known()
    assert len(read) == 201
