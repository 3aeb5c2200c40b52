"""The watch's looks beside a recovery that is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.server_routes.queue.writing import Writer
from wfrecovery.server_routes.recovery.startup import RecoveryState
from wfrecovery.server_routes.recovery.watch import Watch


class _Recovery:
    """Ends when the test says so, and then has decided everything."""

    def __init__(self) -> None:
        self.state, self.is_running, self.runs = RecoveryState(), False, 0

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

    def found() -> tuple[list[str], list[str]]:
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
