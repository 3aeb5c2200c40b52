"""Both workflows, and who runs them over the sheet."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from abc import ABC, abstractmethod
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from .feishu import FeishuClient, RowData
from .runninghub import RunningHubClient

log = logging.getLogger("main")

OPEN, DONE, FAILED = "否", "已完成", "失败"
AT_ONCE = 4


class Workflow(ABC):
    """What both do with a row."""

    kind: str
    workflow_id: str
    #: which node takes what
    nodes: ClassVar[dict[str, str]]
    status_field: str
    status_column: str
    folder: str
    suffix: str

    def __init__(self, manager: WorkflowManager) -> None:
        self.cloud, self.feishu = manager.cloud, manager.feishu
        self.output = manager.output
        self.downloading = threading.Lock()

    @abstractmethod
    def pictures(self, row: RowData) -> dict[str, Any]:
        """The cells whose pictures go in, by the name of the input."""

    def is_open(self, row: RowData, statuses: tuple[str, ...]) -> bool:
        """Whether it can be rendered now."""
        return getattr(row, self.status_field) in statuses and all(
            isinstance(cell, dict) for cell in self.pictures(row).values()
        )

    def inputs(self, row: RowData) -> dict[str, Any]:
        """What goes into the workflow: pictures as files, texts as they are."""
        inputs: dict[str, Any] = {"prompt": row.prompt}
        for name, cell in self.pictures(row).items():
            inputs[name] = self.output / "inputs" / f"{cell['fileToken']}.png"
            inputs[name].parent.mkdir(parents=True, exist_ok=True)
            with self.downloading:
                if not inputs[name].exists():
                    self.feishu.download_media(cell["fileToken"], inputs[name])
        return inputs

    def node_info(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """The same as RunningHub takes it."""
        info = []
        for name, value in inputs.items():
            node, field = self.nodes[name].split(".")
            told = self.cloud.upload_image(value) if isinstance(value, Path) else value
            info.append({"nodeId": node, "fieldName": field, "fieldValue": told})
        return info

    def push(self, row: RowData, file: Path) -> None:
        """Into the sheet."""
        self.feishu.write_status(row.row_number, self.status_column, DONE)

    async def process_row(self, row: RowData) -> dict[str, Any]:
        """One row, from its pictures to its result in the sheet."""
        try:
            inputs = await asyncio.to_thread(self.inputs, row)
            info = await asyncio.to_thread(self.node_info, inputs)
            task_id = await asyncio.to_thread(self.cloud.create, self.workflow_id, info)
            urls = await asyncio.to_thread(self.cloud.wait, task_id)
            file = self.output / self.folder / f"{row.product_name}_{row.model_name}{self.suffix}"
            await asyncio.to_thread(self.cloud.download, urls[-1], file)
            self.save_task(row, task_id, file)
            await asyncio.to_thread(self.push, row, file)
        except Exception as error:
            await asyncio.to_thread(self.feishu.write_status, row.row_number, self.status_column, FAILED)
            return {"row_number": row.row_number, "status": FAILED, "error_message": str(error)}
        return {"row_number": row.row_number, "status": DONE, "error_message": None}

    def save_task(self, row: RowData, task_id: str, file: Path) -> None:
        """Remember it in tasks.json."""
        path = self.output / "tasks.json"
        tasks = json.loads(path.read_text("utf-8")) if path.exists() else []
        tasks.append({"row": row.row_number, "workflow": self.kind, "task_id": task_id, "file": str(file)})
        path.write_text(json.dumps(tasks, ensure_ascii=False, indent=2), "utf-8")


class ImageCompositionWorkflow(Workflow):
    """图片合成: product and model become one picture."""

    kind = "图片合成"
    workflow_id = "1901"
    nodes: ClassVar = {"product_image": "10.image", "model_image": "11.image", "prompt": "6.text"}
    status_field, status_column = "status", "图片是否已处理"
    folder, suffix = f"img/{datetime.now():%Y-%m-%d}", ".png"  # noqa: DTZ005

    def pictures(self, row: RowData) -> dict[str, Any]:
        return {"product_image": row.product_image, "model_image": row.model_image}

    def push(self, row: RowData, file: Path) -> None:
        super().push(row, file)
        try:
            self.feishu.write_picture(row.row_number, "产品模特合成图", file)
        except Exception as error:
            log.warning("row %d: the picture could not be pushed: %s", row.row_number, error)


class ImageToVideoWorkflow(Workflow):
    """图生视频: the picture moves."""

    kind = "图生视频"
    workflow_id = "1902"
    nodes: ClassVar = {"composite_image": "10.image", "prompt": "6.text"}
    status_field, status_column = "video_status", "视频是否已实现"
    folder, suffix = f"video/{datetime.now():%Y-%m-%d}", ".mp4"  # noqa: DTZ005

    def pictures(self, row: RowData) -> dict[str, Any]:
        return {"composite_image": row.composite_image}


class WorkflowManager:
    """Runs workflows over the open rows of the sheet, a few rows at the same time."""

    def __init__(self, cloud: RunningHubClient, feishu: FeishuClient, output: Path) -> None:
        self.cloud, self.feishu, self.output = cloud, feishu, output
        self.workflows = (ImageCompositionWorkflow(self), ImageToVideoWorkflow(self))

    async def process(self, *, retry: bool, dry_run: bool) -> list[dict[str, Any]]:
        """All workflows, one after the other; what became of each row."""
        results: list[dict[str, Any]] = []
        for workflow in self.workflows:
            rows = self.open_rows(workflow, retry)
            log.info("%s: %d rows to do", workflow.kind, len(rows))
            for row in rows:
                log.info("  row %d  %s × %s", row.row_number, row.product_name, row.model_name)
            if not dry_run:
                results += await self.process_rows(workflow, rows)
        return results

    def open_rows(self, workflow: Workflow, retry: bool) -> list[RowData]:
        """The rows to do; `retry`: also those that failed."""
        statuses = (OPEN, FAILED) if retry else (OPEN,)
        return [row for row in self.feishu.read_rows() if workflow.is_open(row, statuses)]

    async def process_rows(self, workflow: Workflow, rows: list[RowData]) -> list[dict[str, Any]]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(row: RowData) -> dict[str, Any]:
            async with places:
                return await workflow.process_row(row)

        return await asyncio.gather(*map(one, rows))
