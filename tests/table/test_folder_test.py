"""Which means may be relied on in a folder: real processes, real locks; and file systems that lie, played."""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from plugin_support import until

from wfrecovery.bridge.table import folder_test
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.folder_test import FolderTest, examine_folder

#: A `filelock` for both processes; each test says what its lock does.
FAKE = """
import os, pathlib

class Timeout(TimeoutError):
    pass

class FileLock:
    def __init__(self, path, fallback_to_soft=True):
        self.path, self.soft = pathlib.Path(path), fallback_to_soft

    def acquire(self, timeout=-1, poll_interval=0.05):
        self.path.touch()
        {acquire}

    def release(self):
        {release}
"""
SOFT = "held = self.path.with_suffix('.held')\n        if held.exists(): raise Timeout\n        held.touch()"


def fake_filelock(tmp_path: Path, acquire: str, release: str = "pass") -> ModuleType:
    package = tmp_path / "library" / "filelock"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE.format(acquire=acquire, release=release))
    spec = importlib.util.spec_from_file_location("filelock_fake", package / "__init__.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file of somebody else; afterwards there is nothing but that, as it was."""
    folder = tmp_path / "输出 of [all]"
    folder.mkdir()
    other = folder / "table.lock"
    other.write_bytes(b"theirs")
    before = other.stat()
    yield folder
    assert list(folder.iterdir()) == [other]
    assert (other.stat().st_mtime_ns, other.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_on_a_local_disk_all_may_be_relied_on(folder: Path) -> None:
    found = examine_folder(folder)
    assert (found.locks, found.replace, found.sync, found.mode, found.problem) == (True, True, True, "locks", None)
    assert found.clock_offset == 0
    # On a busy machine a pause passes for one of the clock, now and then.
    until(lambda: (examine_folder(folder).clock_resolution or 10**9) <= 16_000_000)
    assert "at once" in found.wording().en
    assert "立即" in found.wording().zh


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs")
def test_in_memory_as_well() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        assert examine_folder(Path(name)).mode == "locks"
        assert os.listdir(name) == []


def test_it_is_done_once_per_process_and_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(folder_test, "examine_folder", lambda path: asked.append(path) or FolderTest(locks=False))
    monkeypatch.setattr(folder_test, "_tested", {})
    assert folder_test.tested(folder) is folder_test.tested(folder)
    folder_test.tested(folder.parent)
    assert asked == [folder, folder.parent]


# ---------------------------------------------------------------------- file systems that cannot


def test_locks_that_exclude_nobody(folder: Path, tmp_path: Path) -> None:
    """As on some network drives: both believe that they hold it."""
    found = examine_folder(folder, library=fake_filelock(tmp_path, "pass"))
    assert (found.locks, found.mode, found.replace) == (False, "beat", True)
    assert found.problem
    assert "do not exclude" in found.problem.en
    assert "90 s" in found.wording().en
    assert "90 秒" in found.wording().zh


def test_a_lock_that_its_dead_holder_keeps(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a soft lock does, whose file stays."""
    monkeypatch.setattr(folder_test, "_FREE_WITHIN", 0.01)
    found = examine_folder(folder, library=fake_filelock(tmp_path, SOFT))
    assert (found.locks, found.mode) == (False, "beat")
    assert found.problem
    assert "stays held" in found.problem.en
    for left in folder.glob("*.held"):
        left.unlink()  # the fake's, not ours


def test_a_file_system_without_locks(folder: Path, tmp_path: Path) -> None:
    """flock answers ENOSYS; a soft lock is not asked for."""
    acquire = "assert not self.soft; raise NotImplementedError('FileSystem does not appear to support flock')"
    found = examine_folder(folder, library=fake_filelock(tmp_path, acquire))
    assert (found.locks, found.mode) == (None, "beat")
    assert found.problem
    assert "does not appear to support flock" in found.problem.zh


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_real_filelock_without_flock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In our process; whichever cannot lock, it is a doubt."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    found = examine_folder(folder)
    assert (found.locks, found.mode) == (None, "beat")


@pytest.mark.parametrize("ids", ["changing", "none"])
def test_a_file_system_without_file_ids(folder: Path, monkeypatch: pytest.MonkeyPatch, ids: str) -> None:
    monkeypatch.setattr(folder_test, "_file_id", lambda path: 0 if ids == "none" else path.stat().st_ino + 1)
    found = examine_folder(folder)
    assert (found.locks, found.mode) == (False, "beat")
    assert found.problem
    assert "no id" in found.problem.en


def test_a_replacement_that_is_seen_half_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_half(_self: Disk, source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:100])
        source.unlink()

    monkeypatch.setattr(Disk, "replace", copy_half)
    found = examine_folder(folder)
    assert (found.replace, found.locks) == (False, True)
    assert "not safe" in found.wording().en


def test_a_replacement_that_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader waits for the last content in vain, until it is killed."""
    monkeypatch.setattr(folder_test, "_replace_often", lambda _: False)
    found = examine_folder(folder)
    assert (found.replace, found.locks) == (False, True)


def test_a_disk_that_does_not_sync_the_names_in_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Disk, _folder: Path) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Disk, "sync_folder", refuse)
    found = examine_folder(folder)
    assert (found.sync, found.mode) == (False, "locks")
    assert "power cut" in found.wording().en


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no folder that even root cannot write to")
def test_a_folder_that_cannot_be_written() -> None:
    found = examine_folder(Path("/proc"))
    assert (found.locks, found.replace, found.sync, found.mode) == (None, None, None, "beat")
    assert found.problem
    assert "/proc" in found.problem.zh


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert examine_folder(tmp_path / "gone").mode == "beat"


# ---------------------------------------------------------------------- clocks


class _Times:
    """A file system that keeps times in grains, and whose clock is off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, grain: int, ahead: float = 0) -> None:
        self.grain, self.ahead = grain, int(ahead * 1e9)
        self.stat, self.utime = Path.stat, os.utime
        self.set: set[str] = set()
        times = self

        def stat(path: Path, **kwargs: Any) -> Any:
            return times.of(path, **kwargs)

        monkeypatch.setattr(Path, "stat", stat)
        monkeypatch.setattr(os, "utime", self.change)

    def change(self, path: Path, ns: tuple[int, int]) -> None:
        self.set.add(str(path))
        self.utime(path, ns=ns)

    def of(self, path: Path, **kwargs: Any) -> Any:
        stat = self.stat(path, **kwargs)
        ahead = 0 if str(path) in self.set else self.ahead
        time_ns = (stat.st_mtime_ns + ahead) // self.grain * self.grain
        values = {name: getattr(stat, name) for name in dir(stat) if name.startswith("st_")}
        return type("Stat", (), {**values, "st_mtime_ns": time_ns, "st_mtime": time_ns / 1e9})()


@pytest.mark.parametrize("grain", [2_000_000_000, 1_000_000_000, 10_000_000, 100])
def test_what_is_kept_of_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch, grain: int) -> None:
    _Times(monkeypatch, grain)
    found = examine_folder(folder)
    assert found.clock_resolution is not None
    assert grain <= found.clock_resolution <= max(grain * 2, 30_000_000)
    assert found.clock_offset == 0


@pytest.mark.parametrize(("ahead", "word"), [(100, "ahead"), (-100, "behind")])
def test_a_clock_that_is_off(folder: Path, monkeypatch: pytest.MonkeyPatch, ahead: float, word: str) -> None:
    _Times(monkeypatch, 1, ahead)
    found = examine_folder(folder)
    assert found.clock_offset == pytest.approx(ahead, abs=5)
    assert word in found.wording().en
    assert found.mode == "locks"


# ---------------------------------------------------------------------- the second process


@pytest.mark.parametrize("executable", ["", "/opt/blender/blender", "/no/such/python3"])
def test_without_a_python_to_start_it_is_a_doubt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    """A program with Python inside is not started: its window would open."""
    monkeypatch.setattr(sys, "executable", executable)
    found = examine_folder(folder)
    assert (found.locks, found.mode, found.sync) == (None, "beat", True)
    assert found.problem


def test_a_process_that_ends_without_a_word(folder: Path) -> None:
    def run(command: list[str], **kwargs: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([command[0], "-c", "raise SystemExit(3)"], **kwargs)

    found = examine_folder(folder, run=run)
    assert found.mode == "beat"
    assert found.problem
    assert "status 3" in found.problem.en


def test_a_process_that_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_test, "_START_LIMIT", 0.2)
    started: list[subprocess.Popen[str]] = []

    def run(command: list[str], **kwargs: Any) -> subprocess.Popen[str]:
        started.append(subprocess.Popen([command[0], "-c", "import time; time.sleep(60)"], **kwargs))
        return started[0]

    assert examine_folder(folder, run=run).mode == "beat"
    assert started[0].returncode


def test_a_process_that_hangs_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_test, "_TIME_LIMIT", 0.2)
    started: list[subprocess.Popen[str]] = []

    def run(command: list[str], **kwargs: Any) -> subprocess.Popen[str]:
        hangs = "import time; print('ready', flush=True); time.sleep(20)"
        started.append(subprocess.Popen([command[0], "-c", hangs], **kwargs))
        return started[0]

    found = examine_folder(folder, run=run)
    assert (found.locks, found.mode) == (None, "beat")
    assert started[0].returncode, "it was killed, and not waited for"


def test_a_process_that_starts_slowly_says_nothing_of_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine: its locks hold all the same."""
    monkeypatch.setattr(folder_test, "_TIME_LIMIT", 3.0)

    def run(command: list[str], **kwargs: Any) -> subprocess.Popen[str]:
        slow = (
            "import sys, time, runpy; time.sleep(4); del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        return subprocess.Popen([command[0], "-c", slow, *command[3:]], **kwargs)

    assert examine_folder(folder, run=run).mode == "locks"


def test_where_locks_could_not_be_tried_they_are_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(folder_test, "_tested", {})

    def examined(folder: Path) -> FolderTest:
        asked.append(folder)
        return FolderTest(locks=None if len(asked) < 3 else True)

    monkeypatch.setattr(folder_test, "examine_folder", examined)
    assert [folder_test.tested(folder).mode for _ in range(2)] == ["beat", "beat"]
    for number in (1, 2):
        found, again_at, pause = folder_test._tested[folder]
        assert (len(asked), pause) == (number, 60 * 2**number)
        monkeypatch.setitem(folder_test._tested, folder, (found, again_at - pause, pause))  # that time is over
        folder_test.tested(folder)
    assert [folder_test.tested(folder).mode for _ in range(2)] == ["locks", "locks"]
    assert len(asked) == 3


def test_no_process_may_be_started(folder: Path) -> None:
    def run(*_: object, **__: object) -> subprocess.Popen[str]:
        raise PermissionError(1, "Operation not permitted")

    found = examine_folder(folder, run=run)
    assert found.mode == "beat"
    assert found.problem
    assert "not permitted" in found.problem.en


def test_the_second_process_imports_nothing_of_ours(folder: Path) -> None:
    """A bare Python is enough, one with neither site-packages nor the plugin."""
    commands: list[list[str]] = []

    def run(command: list[str], **kwargs: Any) -> subprocess.Popen[str]:
        commands.append(command)
        return subprocess.Popen(command, cwd="/", env={}, **kwargs)

    assert examine_folder(folder, run=run).mode == "locks"
    assert commands[0][1:3] == ["-I", "-S"]


# ---------------------------------------------------------------------- nothing stays behind

KILLED = """
import os, signal, subprocess, sys
from pathlib import Path
from wfrecovery.bridge.table import folder_test

def killed(*_):
    os.kill(os.getpid(), 9)

folder_test.{where} = killed

def run(command, **kwargs):
    return subprocess.Popen(command, **{{**kwargs, "stderr": None}})

folder_test.examine_folder(Path(sys.argv[1]), run=run)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("where", ["_file_id", "_can_lock", "_replace_often"])
def test_who_is_killed_in_the_middle_leaves_nothing(folder: Path, where: str) -> None:
    """The second process notices, and removes the files of both; its standard error ends when it has ended."""
    command = [sys.executable, "-c", KILLED.format(where=where), str(folder)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, check=False, timeout=180)
    assert (ended.returncode, ended.stderr) == (-9, b"")


def test_litter_of_those_who_were_both_killed_is_swept(folder: Path) -> None:
    """Not that of a test that is being made."""
    old, new = folder / "wfrecovery-test-1-ab.lock.tmp", folder / ".wfrecovery-test-2-cd.new.tmp.7-0.tmp"
    for path, age in ((old, 61), (new, 30)):
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    examine_folder(folder)
    assert not old.exists()
    new.unlink()
