"""A publisher that dies at a given step; started as a program by `test_publishing_kill.py`.

Reads jobs from stdin, one JSON object a line: {"what", "folder", "environ", "kill_at"}. Each runs in a forked process
of its own, so that starting the interpreter is paid once. Answers with the number of steps that were taken.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import requests
from publishing_support import Image
from table_processes import QuickDisk
from table_support import Steps, WatchedDisk, kill_myself

from wfrecovery.bridge.feishu import reading
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.publisher import Publisher
from wfrecovery.bridge.settings import load_settings
from wfrecovery.bridge.table.changes import submitted
from wfrecovery.bridge.table.manager import DatabaseManager

KIND, MARK = "图片合成", "备注"


class WatchedSession(requests.Session):
    """Each request is two steps: it is about to leave, and its answer is there but nobody has looked at it yet."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> requests.Response:
        self._steps("before", ())
        response = super().request(method, url, *arguments, **options)
        self._steps("after", ())
        return response


class Everything(tuple[str, ...]):
    """Every name is in it."""

    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return True


def flush(folder: str, environ: dict[str, str], kill_at: int) -> int:
    steps = Steps(kill_at, kill_myself, names=Everything())
    steps.armed = False
    db = DatabaseManager(folder, disk=WatchedDisk(steps))
    client = FeishuClient(load_settings(environ=environ), session=WatchedSession(steps))
    publisher = Publisher(db, client)
    steps.armed = True
    publisher.flush()
    return len(steps.seen)


def batch(folder: str, environ: dict[str, str], kill_at: int) -> int:
    """A `main.py` in small, whose steps are those of HTTP alone: it enters what is to be done, has it numbered,
    rendered and delivered. The engine keeps what it has: a picture for each task, and whose row that was."""
    steps = Steps(kill_at, kill_myself, names=Everything())
    db = DatabaseManager(folder, disk=QuickDisk())
    client = FeishuClient(load_settings(environ=environ), session=WatchedSession(steps))
    publisher = Publisher(db, client)
    rows = [row for row in client.read_rows() if row.status == "否"]
    for row in db.rows_without_task(rows, KIND):
        task_id = db.add_workflow_task(row, KIND, comfyui_task_id=str(uuid.uuid4()))
        db.table.update(task_id, partial(submitted, db.owners.me))
        (Path(folder) / f"{task_id}.mark").write_text(row.original_data[MARK], encoding="utf-8")
    publisher.number()
    for number, task in enumerate(db.table.active(), start=1):
        if not task.stage.final:
            path = Path(folder) / f"{task.task_id}_00001_.png"
            Image.new("RGB", (4, 4), (number, int(task.task_id[-3:]), 9)).save(path)
            db.complete_task(task.task_id, [path])
    publisher.flush()
    return len(steps.seen)


def main() -> None:
    reading._TRUSTED_SECONDS = 120.0  # type: ignore[misc]  # else a second more is a look more, and the steps differ
    for line in sys.stdin:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            job = json.loads(line)
            steps = {"flush": flush, "batch": batch}[job.pop("what")](**job)
            os.write(write_end, str(steps).encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            steps_taken = pipe.read()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"steps": int(steps_taken or 0), "signal": os.WTERMSIG(status)}), flush=True)


if __name__ == "__main__":
    main()
