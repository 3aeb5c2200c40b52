"""What the tests of the stand-in cloud share: the shortest way to ask it, over real HTTP."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import requests
from PIL import Image

from wfrecovery.demo.runninghub_host.stand_in import Output, RunningHubStandIn, Workflow

#: `101` makes one picture, `102` two pictures and a video; both until they are told. `103` takes 10 s
NODES = {"6": ("text",), "10": ("image",), "3": ("seed",)}
WORKFLOWS = {
    "101": Workflow(nodes=NODES, seconds=None),
    "102": Workflow((Output("9", count=2), Output("12", "mp4")), nodes=NODES, seconds=None),
    "103": Workflow(nodes=NODES, seconds=10),
}


def until(condition: Callable[[], object]) -> None:
    """For what the stand-in does behind an answer that does not come."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def picture(colour: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(data, "png")
    return data.getvalue()


def node_info(text: str, image: str = "", seed: int | None = None) -> list[dict[str, Any]]:
    given = [{"nodeId": "6", "fieldName": "text", "fieldValue": text}]
    given += [{"nodeId": "10", "fieldName": "image", "fieldValue": image}] if image else []
    return given + ([{"nodeId": "3", "fieldName": "seed", "fieldValue": str(seed)}] if seed is not None else [])


class Caller:
    """Knows its key."""

    def __init__(self, cloud: RunningHubStandIn, key: str = "") -> None:
        self.cloud = cloud
        self.key = key or cloud.api_key
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, path: str, body: Any, **more: Any) -> requests.Response:
        return self.session.post(self.cloud.url + path, json=body, timeout=120, **more)

    def ask(self, call: str, **body: Any) -> dict[str, Any]:
        """The envelope. Errors come as HTTP 200, too."""
        answer = self.post(f"/task/openapi/{call}", {"apiKey": self.key, **body})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("application/json")
        envelope: dict[str, Any] = answer.json()
        assert envelope.keys() == {"code", "msg", "data"}
        return envelope

    def code(self, call: str, **body: Any) -> int:
        return int(self.ask(call, **body)["code"])

    def create(self, text: str = "row 7 杯子", workflow: str = "101", **more: Any) -> str:
        """The new task's id."""
        created = self.ask("create", workflowId=workflow, nodeInfoList=node_info(text, **more))
        assert created["code"] == 0, created
        return str(created["data"]["taskId"])

    def outputs(self, task_id: str) -> list[dict[str, Any]]:
        told = self.ask("outputs", taskId=task_id)
        assert told["code"] == 0, told
        files: list[dict[str, Any]] = told["data"]
        return files

    def finished(self, text: str = "row 7 杯子", workflow: str = "101", **more: Any) -> list[dict[str, Any]]:
        """What a new task has made."""
        task_id = self.create(text, workflow, **more)
        self.cloud.finish(task_id)
        return self.outputs(task_id)

    def upload(self, data: bytes, name: str = "杯子 1.PNG") -> dict[str, Any]:
        form = {"apiKey": self.key, "fileType": "image"}
        answer = self.session.post(
            f"{self.cloud.url}/task/openapi/upload", data=form, files={"file": (name, data)}, timeout=120
        )
        envelope: dict[str, Any] = answer.json()
        return envelope

    def get(self, address: str) -> requests.Response:
        return self.session.get(address, timeout=120)
