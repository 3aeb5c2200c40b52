"""The watch's looks beside a recovery that is under way."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shared_world import SHAPES, SharedWorld

from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.server_routes.queue.writing import Writer
from wfrecovery.server_routes.recovery.startup import RecoveryState
from wfrecovery.server_routes.recovery.watch import Watch


class _Recovery:
    """Ends when the test says so, and then has decided everything."""

    def __init__(self) -> None:
        self.state, self.is_running, self.runs = RecoveryState(), False, 0
        self.is_undone = False

    def start(self) -> bool:
        if self.is_running:
            return False
        self.state, self.is_running = RecoveryState(state="running"), True
        self.runs += 1
        return True

    def end(self) -> None:
        self.state.state, self.state.total, self.is_running = "idle", 1, False


def _watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recovery: _Recovery, while_looking: list[Any]) -> Watch:
    recorder = SimpleNamespace(heal=lambda: None)
    given: Any = (DatabaseManager(tmp_path / "output"), recovery, SimpleNamespace(), recorder, Writer())
    watch = Watch(*given)

    def found(_: float) -> tuple[list[str], list[str]]:
        for happens in while_looking:
            happens()
        return [], ["left"]

    monkeypatch.setattr(watch, "_found", found)
    return watch


@pytest.mark.parametrize("started", ["before", "meanwhile"])
def test_a_recovery_that_ends_while_the_watch_looks_keeps_its_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str
) -> None:
    recovery = _Recovery()
    if started == "before":
        recovery.start()
    happens = [recovery.end] if started == "before" else [recovery.start, recovery.end]
    watch = _watch(tmp_path, monkeypatch, recovery, happens)
    asyncio.run(watch.look())
    assert (recovery.runs, recovery.state.state, recovery.state.total) == (1, "idle", 1)


def test_what_is_left_by_nobody_is_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recovery = _Recovery()
    watch = _watch(tmp_path, monkeypatch, recovery, [])
    asyncio.run(watch.look())
    assert recovery.runs == 1


def test_a_table_that_cannot_be_looked_at_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits for a take-over must learn why it does not come, and not every two seconds."""
    watch = _watch(tmp_path, monkeypatch, _Recovery(), [])
    found = watch._found

    def refused(now: float) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", "active")

    for look in (refused, refused, found, found, refused):
        monkeypatch.setattr(watch, "_found", look)
        asyncio.run(watch.look_guarded())
    told = [record.levelname for record in caplog.records if record.name == "wfrecovery"]
    assert told == ["ERROR", "WARNING", "ERROR"]
    assert "Permission denied" in caplog.text


def test_the_status_says_that_the_table_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SharedWorld()
    try:
        world.start("A")
        world.post("A", SHAPES["one"])
        life = world.comfys["A"]
        assert life is not None
        before = life.ask("/wfrecovery/status", method="GET")[1]
        with monkeypatch.context() as patch:
            patch.setattr(Disk, "stamps", _refuses)
            status, told = life.ask("/wfrecovery/status", method="GET")
        assert (status, told["tasks"]) == (200, before["tasks"])
        assert told["unwritten"]["error"] == "the disk reports an error"
        assert life.ask("/wfrecovery/status", method="GET")[1]["unwritten"]["error"] is None
    finally:
        world.close()


def _refuses(*_: Any) -> Any:
    raise OSError(errno.EIO, "Input/output error", "active")
