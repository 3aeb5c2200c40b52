"""Programs of several time zones work in one table, or the clock is put back for winter: who came first came first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wfrecovery.bridge.recovery.starts import suspect
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import QueuePlace
from wfrecovery.server_routes.recovery.startup import StartupRecovery

#: An hour lies between them.
EARLIER, LATER = "2026-11-30T10:00:00.000+08:00", "2026-11-30T03:00:00.000+00:00"


def test_the_oldest_in_the_queue_is_to_blame() -> None:
    first = new_task("img_20261130_001", Stage.QUEUED, queue=QueuePlace(queued_at=EARLIER))
    second = new_task("img_20261130_002", Stage.QUEUED, queue=QueuePlace(queued_at=LATER))
    assert suspect([second, first]) == first
    sent = new_task("img_20261130_003", Stage.CREATED, sending=EARLIER)
    assert suspect([second, sent]) == sent


def test_what_an_earlier_comfyui_had_comes_first(tmp_path: Path) -> None:
    db = DatabaseManager(tmp_path)
    ids = [db.table.claim_id("图片合成") for _ in range(4)]
    queues = [QueuePlace(f"{LATER}/b", 0.0), QueuePlace(f"{EARLIER}/a", 1.0), QueuePlace(), QueuePlace()]
    entered = [EARLIER, EARLIER, LATER, EARLIER]
    for task_id, queue, at in zip(ids, queues, entered, strict=True):
        db.table.create(new_task(task_id, Stage.QUEUED, queue=queue, created_at=at))
    names = ("host", "requeueing", "requests", "writer", "endings", "settings", "on_change", "on_progress")
    others: dict[str, Any] = dict.fromkeys(names)
    recovery = StartupRecovery(db=db, **others)
    assert recovery.in_queue_order(ids) == [ids[3], ids[2], ids[1], ids[0]]
    again, front = (db.table.claim_id("图片合成") for _ in range(2))
    kept = QueuePlace(f"{LATER}/b", 5.0, lost_boot=f"{EARLIER}/a", lost_number=0.5)
    places = [kept, QueuePlace(f"{LATER}/b", -6.0)]
    for task_id, queue in zip((again, front), places, strict=True):
        db.table.create(new_task(task_id, Stage.QUEUED, queue=queue))
    assert recovery.in_queue_order([*ids, again, front]) == [front, ids[3], ids[2], again, ids[1], ids[0]]
