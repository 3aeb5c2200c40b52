"""What the publishing tests share: a sheet, a table of tasks, and a publisher between them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from table_processes import QuickDisk

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.publisher import Publisher
from wfrecovery.bridge.settings import load_settings
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture

Image = pytest.importorskip("PIL.Image")

STATUS, PICTURE, VIDEO = "图片是否已处理", "产品模特合成图", "视频是否已实现"
MP4 = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08moov" + b"\0\0\0\x0cmdat\1\2\3\4"

#: Seconds until something is taken to hang: a busy machine is slow, not wrong.
PATIENCE = 120.0


def rows(count: int) -> list[dict[str, Any]]:
    """Rows of the sheet, from row 2 on."""
    return [
        {"产品名": f"产品{n}", "模特名": f"模特{n}", "提示词": f"提示{n}", STATUS: "否", VIDEO: "否"}
        for n in range(1, count + 1)
    ]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Team:
    """A sheet, a table of tasks, and a publisher between them."""

    def __init__(self, feishu: FeishuStandIn, folder: Path, *, timeout: float = PATIENCE, **settings: Any) -> None:
        self.feishu, self.folder, self.clock = feishu, folder, Clock()
        self.db = DatabaseManager(folder, disk=QuickDisk())
        self.settings = replace(load_settings(environ=feishu.environment()), **settings)
        self.publisher = self.new_publisher(timeout=timeout)

    def new_publisher(self, *, timeout: float = PATIENCE, **settings: Any) -> Publisher:
        """As after a restart. `timeout` is in seconds, for each connection and answer."""
        client = FeishuClient(replace(self.settings, **settings), timeout=(timeout, timeout))
        return Publisher(self.db, client, clock=self.clock)

    def row_data(self, row: int) -> dict[str, Any]:
        texts = self.feishu.sheet.row_texts(row)
        data = {"row_number": row, "product_name": texts["产品名"], "model_name": texts["模特名"]}
        return {**data, "prompt": texts.get("提示词", "")}

    def entered(self, row: int, kind: str = "图片合成") -> str:
        return self.db.add_workflow_task(self.row_data(row), kind)

    def entered_anew(self, row: int) -> str:
        """One more task for a row, whatever became of the former: as the plugin records a prompt of the page."""
        data, kind = self.row_data(row), "图片合成"
        record = new_task(
            self.db.table.claim_id(kind),
            Stage.QUEUED,
            row_number=row,
            product_name=data["product_name"],
            model_name=data["model_name"],
            workflow_type=kind,
            row_data=data,
        )
        return self.db.table.create(record).task_id

    def finished_anew(self, row: int) -> str:
        task_id = self.entered_anew(row)
        path = self.folder / f"{task_id}_00001_.png"
        Image.new("RGB", (4, 4), (row % 256, row // 256, 177)).save(path)
        assert self.db.complete_task(task_id, [path])
        return task_id

    def failed_anew(self, row: int) -> str:
        task_id = self.entered_anew(row)
        assert self.db.mark_task_failed(task_id, "KSampler: boom")
        return task_id

    def finished(self, row: int, name: str | None = None, picture: Any = None) -> str:
        """A task whose picture is rendered; its colour is its own, unless another one is given."""
        task_id = self.entered(row)
        path = self.folder / (name or f"{task_id}_00001_.png")
        (picture or Image.new("RGB", (4, 4), (row % 256, row // 256, 77))).save(path)
        assert self.db.complete_task(task_id, [path])
        return task_id

    def filmed(self, row: int) -> str:
        task_id = self.entered(row, "图生视频")
        (self.folder / f"{task_id}.mp4").write_bytes(MP4)
        assert self.db.complete_task(task_id, [f"{task_id}.mp4"])
        return task_id

    def failed(self, row: int) -> str:
        task_id = self.entered(row)
        assert self.db.mark_task_failed(task_id, "KSampler: boom")
        return task_id

    def record(self, task_id: str) -> TaskRecord:
        return self.db.table.get(task_id)

    def state(self, task_id: str) -> FeishuState:
        return self.record(task_id).feishu_state

    def flush_until_quiet(self, rounds: int = 60) -> None:
        """Flush, moving the clock over each wait."""
        for _ in range(rounds):
            self.publisher.flush()
            if not self.db.unpushed():
                return
            self.clock.now += 400
        raise AssertionError([task.outbox for task in self.db.unpushed()])

    def row(self, product: str) -> dict[str, Any]:
        (number,) = self.feishu.sheet.find_rows(产品名=product)
        return self.feishu.sheet.row(number)

    def products(self) -> list[str]:
        return [self.feishu.sheet.row_texts(number)["产品名"] for number in range(2, self.feishu.sheet.last_row + 1)]

    def assert_delivered(self, task_id: str, *, once_elsewhere: bool = False) -> None:
        """In the sheet stands this task's picture in the row of this task's product, and it never stood elsewhere."""
        record = self.record(task_id)
        row = self.row(record.product_name)
        digest = hashlib.sha256((self.folder / record.output_files[0]).read_bytes()).hexdigest()
        assert isinstance(row[PICTURE], Picture)
        assert row[PICTURE].sha256 == digest
        assert row[STATUS] == "已完成"
        assert self.state(task_id) is FeishuState.PUSHED
        assert once_elsewhere or not [
            write
            for write in self.feishu.sheet.picture_writes
            if write.sha256 == digest and write.row_texts["产品名"] != record.product_name
        ], "the picture stood in another product's row"
