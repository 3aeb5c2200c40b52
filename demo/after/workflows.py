"""Both workflows, and who runs them over the sheet."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from wfrecovery import bridge

log = logging.getLogger("main")

OPEN, DONE, FAILED = "否", "已完成", "失败"
AT_ONCE = 4


class Workflow(ABC):
    """What both do with a row."""

    kind: bridge.WorkflowType
    status_field: str

    def __init__(self, manager: WorkflowManager) -> None:
        self.cloud, self.feishu = manager.cloud, manager.feishu
        self.db, self.recovery, self.output = manager.db, manager.recovery, manager.output
        self.downloading = threading.Lock()

    @abstractmethod
    def pictures(self, row: bridge.RowData) -> dict[str, Any]:
        """The cells whose pictures go in, by the name of the input."""

    def is_open(self, row: bridge.RowData, statuses: tuple[str, ...]) -> bool:
        """Whether it can be rendered now."""
        return getattr(row, self.status_field) in statuses and all(
            bridge.is_picture(cell) for cell in self.pictures(row).values()
        )

    def inputs(self, row: bridge.RowData) -> dict[str, Any]:
        """What goes into the workflow: pictures as files, texts as they are."""
        inputs: dict[str, Any] = {"prompt": row.prompt}
        for name, cell in self.pictures(row).items():
            inputs[name] = self.output / "inputs" / f"{bridge.picture_token(cell)}.png"
            inputs[name].parent.mkdir(parents=True, exist_ok=True)
            with self.downloading:
                if not inputs[name].exists():
                    self.feishu.download_media(bridge.picture_token(cell), inputs[name])
        return inputs

    async def process_row(self, row: bridge.RowData) -> dict[str, Any]:
        """One row, from its pictures to its result in the sheet."""
        try:
            inputs = await asyncio.to_thread(self.inputs, row)
            workflow = await self.cloud.workflow_for(self.kind, **inputs)
            task_id = self.db.add_workflow_task(row, self.kind)
            await self.recovery.submit(task_id, workflow)
            return await self.recovery.finish(task_id)
        except Exception as error:
            return {"row_number": row.row_number, "status": FAILED, "error_message": str(error)}


class ImageCompositionWorkflow(Workflow):
    """图片合成: product and model become one picture."""

    kind = bridge.WorkflowType.IMAGE_COMPOSITION
    status_field = "status"

    def pictures(self, row: bridge.RowData) -> dict[str, Any]:
        return {"product_image": row.product_image, "model_image": row.model_image}


class ImageToVideoWorkflow(Workflow):
    """图生视频: the picture moves."""

    kind = bridge.WorkflowType.IMAGE_TO_VIDEO
    status_field = "video_status"

    def pictures(self, row: bridge.RowData) -> dict[str, Any]:
        return {"composite_image": row.composite_image}


class WorkflowManager:
    """Runs workflows over the open rows of the sheet, a few rows at the same time."""

    def __init__(self, cloud: bridge.RunningHubClient, feishu: bridge.FeishuClient, output: Path) -> None:
        self.cloud, self.feishu, self.output = cloud, feishu, output
        self.db = bridge.DatabaseManager(output)
        self.recovery = bridge.TaskRecoveryManager(self.db, cloud, feishu)
        self.workflows = (ImageCompositionWorkflow(self), ImageToVideoWorkflow(self))

    async def process(self, *, retry: bool, dry_run: bool) -> list[dict[str, Any]]:
        """All workflows, one after the other; what became of each row."""
        statuses = (OPEN, FAILED) if retry else (OPEN,)
        if dry_run:
            await self.say_what_would_be_done(statuses)
            return []
        # what was never sent is done anew below
        results = [task for task in await self.recovery.check_and_recover_tasks() if task["comfyui_task_id"]]
        for workflow in self.workflows:
            rows = self.recovery.rows_to_do(self.open_rows(workflow, statuses), workflow.kind)
            log.info("%s: %d rows to do", workflow.kind.value, len(rows))
            for row in rows:
                log.info("  row %d  %s × %s", row.row_number, row.product_name, row.model_name)
            results += await self.process_rows(workflow, rows)
        return results

    async def say_what_would_be_done(self, statuses: tuple[str, ...]) -> None:
        """Row by row, and what it costs; a film is made of a picture that comes first."""
        pictures, films = self.workflows
        first = self.open_rows(pictures, statuses)
        then = {
            row.row_number: row for row in [*first, *self.open_rows(films, statuses)] if row.video_status in statuses
        }
        plan = await self.recovery.plan({pictures.kind: first, films.kind: list(then.values())})
        for line in plan.lines():
            log.info("%s", line)

    def open_rows(self, workflow: Workflow, statuses: tuple[str, ...]) -> list[bridge.RowData]:
        """The rows to do."""
        return [row for row in self.feishu.read_rows() if workflow.is_open(row, statuses)]

    async def process_rows(self, workflow: Workflow, rows: list[bridge.RowData]) -> list[dict[str, Any]]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(row: bridge.RowData) -> dict[str, Any]:
            async with places:
                return await workflow.process_row(row)

        return [*await asyncio.gather(*map(one, rows)), *await self.recovery.wait_until_done()]
