"""RunningHub over HTTP."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import requests

log = logging.getLogger("main")

TRIES = 3
QUEUE_FULL, NO_MACHINE, RUNNING, QUEUED = 421, 415, 804, 813


class RunningHubError(Exception):
    """It did not do what was asked."""


class RunningHubClient:
    """Uploads, starts, waits, downloads."""

    def __init__(self, url: str, api_key: str, poll_seconds: float) -> None:
        self.url, self.api_key, self.poll_seconds = url, api_key, poll_seconds

    def upload_image(self, file: Path) -> str:
        """Its name there."""
        with file.open("rb") as content:
            answer = self._post("upload", data={"apiKey": self.api_key, "fileType": "image"}, files={"file": content})
        return str(answer["data"]["fileName"])

    def create(self, workflow_id: str, node_info: list[dict[str, Any]]) -> str:
        """Start a workflow; the task's id."""
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._post("create", json=self._body(workflowId=workflow_id, nodeInfoList=node_info))
            except requests.RequestException as error:
                log.warning("create failed, attempt %d: %s", attempt, error)
                continue
            if answer["code"] in (QUEUE_FULL, NO_MACHINE):
                time.sleep(self.poll_seconds)
                continue
            if answer["code"] != 0:
                raise RunningHubError(answer["msg"])
            return str(answer["data"]["taskId"])
        raise RunningHubError(f"no task after {TRIES} attempts")

    def wait(self, task_id: str, seconds: float = 1800) -> list[str]:
        """The addresses of the results."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            answer = self._post("outputs", json=self._body(taskId=task_id))
            if answer["code"] == 0:
                return [result["fileUrl"] for result in answer["data"]]
            if answer["code"] not in (RUNNING, QUEUED):
                raise RunningHubError(answer["msg"])
            time.sleep(self.poll_seconds)
        raise RunningHubError(f"{task_id} did not end within {seconds:g} s")

    def download(self, url: str, file: Path) -> None:
        """Save a result."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with requests.get(url, stream=True, timeout=60) as response, file.open("wb") as out:
            response.raise_for_status()
            for block in response.iter_content(1 << 20):
                out.write(block)

    def _body(self, **body: Any) -> dict[str, Any]:
        return {"apiKey": self.api_key, **body}

    def _post(self, call: str, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = requests.post(f"{self.url}/task/openapi/{call}", timeout=60, **body).json()
        return answer
