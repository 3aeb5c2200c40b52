"""A whole main.py: recover, read the sheet, render what is open, report.

Copy it, and put your own two workflows (ComfyUI: *Workflow → Export (API)*) in the place of the two functions at the
end. Settings come from the environment or config.toml, see the README.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wfrecovery import bridge

SECONDS_PER_IMAGE, SECONDS_PER_VIDEO = 1.2, 1.5
OPEN, DONE = "否", "已完成"
IMAGE, VIDEO = bridge.WorkflowType.IMAGE_COMPOSITION, bridge.WorkflowType.IMAGE_TO_VIDEO

log = logging.getLogger("main")


class Batch:
    """One run over the sheet."""

    def __init__(self, settings: bridge.Settings) -> None:
        self.db = bridge.DatabaseManager(settings.output_dir or "output")
        self.comfy = bridge.ComfyUIClient(settings.comfyui_url)
        self.feishu = bridge.FeishuClient.from_settings(settings)
        self.recovery = bridge.TaskRecoveryManager(self.db, self.comfy, self.feishu)
        self.inputs = self.db.output_dir / "inputs"
        self.tried: set[tuple[Any, ...]] = set()
        self.not_started = 0
        self._downloading = asyncio.Lock()

    async def run(self) -> list[dict[str, Any]]:
        """Recover what a former run left, then work until no row is open."""
        await self.comfy.wait_until_reachable(300)
        results = await self.recovery.check_and_recover_tasks()
        log.info("%d tasks of the last run came to their end at once", len(results))
        waited = 0
        while waited < 60:
            todo = await self.open_rows()
            if todo is None:
                break
            waited = 0 if todo else waited + 1
            results += filter(None, await asyncio.gather(*[self.render_guarded(row, kind) for row, kind in todo]))
            if not todo:
                await asyncio.sleep(1)  # pictures that videos need are still on their way into the sheet
            results += await self.recovery.wait_until_done()
        return results + await self.recovery.wait_until_done()

    async def open_rows(self) -> list[tuple[bridge.RowData, bridge.WorkflowType]] | None:
        """What can be rendered now; None when nothing is left, an empty list when something is on its way."""
        rows = await asyncio.to_thread(self.feishu.read_rows)
        images = [row for row in rows if row.status == OPEN]
        videos = [row for row in rows if row.video_status == OPEN]
        todo = [(row, IMAGE) for row in self.recovery.rows_to_do(images, IMAGE)]
        # Of a row that is to get another picture, the video waits for that one.
        todo += [
            (row, VIDEO)
            for row in self.recovery.rows_to_do(videos, VIDEO)
            if row.status != OPEN and bridge.is_picture(row.composite_image)
        ]
        todo = [(row, kind) for row, kind in todo if _key(row, kind) not in self.tried]
        waiting = [row for row in videos if _key(row, VIDEO) not in self.tried] + self.db.get_incomplete_tasks()
        return todo if todo or waiting else None

    async def render_guarded(self, row: bridge.RowData, kind: bridge.WorkflowType) -> dict[str, Any] | None:
        """One row's trouble does not stop the others; its cell stays 否, so that the next run takes it."""
        try:
            return await self.render(row, kind)
        except bridge.ComfyUIUnreachableError as error:
            log.warning("row %s: %s; tried again", row.row_number, error)
        except Exception:
            self.tried.add(_key(row, kind))
            self.not_started += 1
            log.exception("row %s could not be started", row.row_number)
        return None

    async def render(self, row: bridge.RowData, kind: bridge.WorkflowType) -> dict[str, Any]:
        """One row through one workflow."""
        await self.comfy.wait_until_reachable(300)
        if kind is IMAGE:
            workflow = image_workflow(row, await self.upload(row.product_image), await self.upload(row.model_image))
        else:
            workflow = video_workflow(row, await self.upload(row.composite_image))
        self.tried.add(_key(row, kind))
        task_id = self.db.add_workflow_task(row, kind)
        await self.recovery.submit(task_id, workflow)
        return await self.recovery.finish(task_id)

    async def upload(self, cell: Any) -> str:
        """A cell's picture into ComfyUI's input folder; returns its name there."""
        token = bridge.picture_token(cell)
        file = self.inputs / f"{hashlib.sha256(token.encode()).hexdigest()[:16]}.png"
        async with self._downloading:
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                await asyncio.to_thread(self.feishu.download_media, token, file)
        return await self.comfy.upload_image(file)


def _key(row: bridge.RowData, kind: bridge.WorkflowType) -> tuple[Any, ...]:
    return row.row_number, row.product_name, row.model_name, row.prompt, kind


def image_workflow(row: bridge.RowData, product: str, model: str) -> dict[str, Any]:
    """图片合成: your own graph here."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": product}},
        "2": {"class_type": "LoadImage", "inputs": {"image": model}},
        "3": {
            "class_type": "WfrComposite",
            "inputs": {"product": ["1", 0], "model": ["2", 0], "prompt": row.prompt, "seconds": SECONDS_PER_IMAGE},
        },
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": _prefix("img", row)}},
    }


def video_workflow(row: bridge.RowData, picture: str) -> dict[str, Any]:
    """图生视频: your own graph here."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "2": {
            "class_type": "WfrAnimate",
            "inputs": {"image": ["1", 0], "frames": 16, "seconds": SECONDS_PER_VIDEO},
        },
        "3": {"class_type": "CreateVideo", "inputs": {"images": ["2", 0], "fps": 8.0}},
        "4": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["3", 0], "filename_prefix": _prefix("video", row), "format": "mp4", "codec": "h264"},
        },
    }


def _prefix(folder: str, row: bridge.RowData) -> str:
    return f"{folder}/{row.product_name}_{row.model_name}"


async def main() -> int:
    """Run the batch; 0 when every task ended well."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        batch = Batch(bridge.load_settings())
        results = await batch.run()
    except (bridge.FeishuError, bridge.SheetLayoutError, bridge.ComfyUIError, bridge.SettingsError) as error:
        log.error("%s", error)
        return 1
    failures = [task for task in bridge.failures(results) if _needs_somebody(task)]  # what waits for Feishu is done
    for task in failures:
        why = task["error_message"] or task["metadata"]["feishu"]["last_error"]
        log.error("%s (row %s): %s", task["task_id"], task["row_number"], why)
    done = sum(task["status"] == bridge.WorkflowStatus.COMPLETED.value for task in results)
    failed = len(failures) + batch.not_started
    log.info("%d results, %d failed; files are in %s", done, failed, Path("output").name)
    left = [task["task_id"] for task in batch.db.get_incomplete_tasks() if task["row_number"] is not None]
    if left:
        log.warning("%d tasks have not ended: %s … → run it again, or see: wfrecovery tasks", len(left), left[0])
    return 1 if failed or left else 0


def _needs_somebody(task: Mapping[str, Any]) -> bool:
    """Whether a person has to look after it: it has failed, or its result cannot go into the sheet."""
    state = bridge.FeishuState(task["metadata"]["feishu"]["state"])
    return task["status"] == bridge.WorkflowStatus.FAILED.value or state is bridge.FeishuState.BLOCKED


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
