"""A team's program, in the shape that the specification prints: its start-up, its workflows, every name as it stands.

Reads orders as lines of JSON, forks a run for each, and dies by SIGKILL at the line that the order names.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests
from cloud_support import WORKFLOW
from forked_runs import serve

from wfrecovery import bridge


class WorkflowType(Enum):
    """Their own, with the same values."""

    IMAGE_COMPOSITION = "图片合成"
    IMAGE_TO_VIDEO = "图生视频"


@dataclass
class TheirRow:
    """Their own, with more fields than ours."""

    row_number: int
    product_image: Any = None
    model_image: Any = None
    prompt: str = ""
    status: str = ""
    composite_image: Any = None
    product_name: str = ""
    model_name: str = ""
    video_status: str = ""
    video_prompt: str = "转一圈"
    original_data: dict[str, Any] = field(default_factory=dict)


class TheirClient:
    """Their own: no engine, and it cannot be asked for more than to wait."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    async def submit_workflow(self, workflow: dict[str, Any]) -> SimpleNamespace:
        answer = await asyncio.to_thread(self.call, "create", **workflow)
        return SimpleNamespace(task_id=answer["data"]["taskId"])

    async def wait_for_completion(self, task_id: str) -> SimpleNamespace:
        while True:
            answer = await asyncio.to_thread(self.call, "outputs", taskId=task_id)
            if answer["code"] == 0:
                return SimpleNamespace(files=[bridge.ResultFile.from_url(item["fileUrl"]) for item in answer["data"]])
            await asyncio.sleep(0.05)

    async def download(self, file: bridge.ResultFile, target: Path) -> None:
        await asyncio.to_thread(self.fetch, file.url, target)

    def fetch(self, url: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(requests.get(url, timeout=60).content)

    def call(self, name: str, **body: Any) -> dict[str, Any]:
        told = requests.post(f"{self.url}/task/openapi/{name}", json={"apiKey": self.key, **body}, timeout=60)
        return dict(told.json())


class Lines:
    """Where it is killed."""

    def __init__(self, kill: str) -> None:
        self.kill = kill

    def passed(self, name: str) -> None:
        if name == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)


class Workflow:
    """What both of their workflows do with a row."""

    kind: WorkflowType
    done = "status"

    def __init__(self, manager: WorkflowManager) -> None:
        self.db_manager, self.comfyui_client = manager.db_manager, manager.comfyui_client
        self.lines, self.order = manager.lines, manager.order

    async def process_row(self, row_data: TheirRow) -> list[str]:
        passed = lambda name: self.lines.passed(f"{self.kind.name}: {name}")  # noqa: E731
        passed("begins")
        task_id = self.db_manager.add_workflow_task(row_data, self.kind, None)
        passed("entered")
        try:
            comfyui_result = await self.comfyui_client.submit_workflow(self.workflow(row_data))
            passed("submitted")
            self.db_manager.update_task_comfyui_id(task_id, comfyui_result.task_id)
            passed("noted")
            result = await self.comfyui_client.wait_for_completion(comfyui_result.task_id)
            passed("rendered")
            output_files = await self._save_result_files(row_data, result)
            passed("saved")
            self.db_manager.complete_task(task_id, output_files)
            passed("completed")
        except Exception as error:
            self.db_manager.mark_task_failed(task_id, str(error))
            raise
        return output_files

    async def _save_result_files(self, row_data: TheirRow, result: Any) -> list[str]:
        """Named from where the program was started, as such programs do."""
        names = []
        for number, file in enumerate(result.files):
            suffix = file.filename.rpartition(".")[2]
            name = f"./output/{self.kind.name.lower()}/{row_data.product_name}_{number}.{suffix}"
            await self.comfyui_client.download(file, Path(name))
            names.append(name)
        return names

    def workflow(self, row_data: TheirRow) -> dict[str, Any]:
        said = f"{self.kind.value} {row_data.prompt}"
        if self.order["engine"] != "comfyui":
            info = [{"nodeId": "6", "fieldName": "text", "fieldValue": said}]
            return {"workflowId": WORKFLOW if self.kind.name == "IMAGE_COMPOSITION" else "102", "nodeInfoList": info}
        color = row_data.row_number + (100 if self.kind.name == "IMAGE_TO_VIDEO" else 0)
        picture = {"width": 16, "height": 16, "batch_size": 1, "color": color}
        image = {"1": {"class_type": "EmptyImage", "inputs": picture}}
        prefix = {"filename_prefix": f"spec/{said}"}
        if self.kind is WorkflowType.IMAGE_COMPOSITION:
            return {**image, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], **prefix}}}
        film = {"video": ["2", 0], "format": "mp4", "codec": "h264", **prefix}
        return {
            **image,
            "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}},
            "3": {"class_type": "SaveVideo", "inputs": film},
        }


class ImageCompositionWorkflow(Workflow):
    kind = WorkflowType.IMAGE_COMPOSITION


class ImageToVideoWorkflow(Workflow):
    kind = WorkflowType.IMAGE_TO_VIDEO
    done = "video_status"


class WorkflowManager:
    """What their start-up makes first."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order, self.lines = order, Lines(order["kill"])
        self.db_manager = bridge.DatabaseManager()
        self.comfyui_client = _client(order)
        self.workflows = (ImageCompositionWorkflow(self), ImageToVideoWorkflow(self))

    async def process(self, feishu_client: bridge.FeishuClient) -> None:
        for workflow in self.workflows:
            for found in feishu_client.read_rows():
                if getattr(found, workflow.done) == "否":
                    await workflow.process_row(TheirRow(**{name: getattr(found, name) for name in _NAMES}))


_NAMES = [name for name in TheirRow.__dataclass_fields__ if name != "video_prompt"]


def _client(order: dict[str, Any]) -> Any:
    if order["engine"] == "theirs":
        return bridge.recorded(TheirClient(order["url"], order["key"]))
    if order["engine"] == "cloud":
        return bridge.RunningHubClient(order["key"], base_url=order["url"], poll_seconds=0.05)
    return bridge.ComfyUIClient(order["url"], poll_seconds=0.05)


async def main_process(order: dict[str, Any]) -> None:
    workflow_manager = WorkflowManager(order)
    recovery_manager = bridge.TaskRecoveryManager(
        db_manager=workflow_manager.db_manager, comfyui_client=workflow_manager.comfyui_client
    )
    recovered_tasks = await recovery_manager.check_and_recover_tasks()
    assert isinstance(recovered_tasks, list)
    workflow_manager.lines.passed("recovered")
    await workflow_manager.process(bridge.FeishuClient.from_settings(bridge.load_settings()))
    await recovery_manager.wait_until_done()


def run(order: dict[str, Any]) -> dict[str, Any]:
    """One run, in the fork."""
    Path(order["folder"]).mkdir(parents=True, exist_ok=True)
    os.chdir(order["folder"])
    os.environ.update(order["env"])
    asyncio.run(main_process(order))
    return {}


if __name__ == "__main__":
    serve(run)
