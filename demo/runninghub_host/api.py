"""What the calls answer: from a request to `data`, or to a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from .addresses import Addresses
from .cloud import Cloud, Task
from .switches import Switches
from .wire import RefusalError, Request

__all__ = ["Api"]

_PLACEHOLDER: Final = "(set by the client)"


class Api:
    """The calls by name. Each returns `data`; `base_url` is where the addresses of results begin."""

    def __init__(self, cloud: Cloud, addresses: Addresses, switches: Switches) -> None:
        self.base_url = ""
        self._cloud = cloud
        self._addresses = addresses
        self._switches = switches
        #: by path
        self.calls: dict[str, tuple[str, Callable[[Request], Any]]] = {
            "/task/openapi/create": ("create", self._create),
            "/task/openapi/status": ("status", self._status),
            "/task/openapi/outputs": ("outputs", self._outputs),
            "/task/openapi/cancel": ("cancel", self._cancel),
            "/task/openapi/upload": ("upload", self._upload),
            # Not in the project's facts, but in the documentation: what a doctor asks.
            "/uc/openapi/accountStatus": ("account", self._account_status),
            "/api/openapi/getJsonApiFormat": ("workflow", self._workflow),
        }

    def _create(self, request: Request) -> dict[str, Any]:
        body = request.json()
        account = self._account(body.get("apiKey"))
        node_info = body.get("nodeInfoList") or []
        if not body.get("workflowId") or not _is_node_info(node_info):
            raise RefusalError(301)
        task = self._cloud.create(account, str(body["workflowId"]), node_info)
        tips: dict[str, Any] = {
            "result": not task.reason,
            "error": None,
            "outputs_to_execute": [output.node for output in task.workflow.outputs],
            "node_errors": {task.reason["node_id"]: task.reason} if task.reason else {},
        }
        return {
            "netWssUrl": None,
            "taskId": self._id(task.id),
            "clientId": f"{int(task.id):032x}",
            "taskStatus": task.state,
            "promptTips": json.dumps(tips),
        }

    def _status(self, request: Request) -> Any:
        with self._cloud.at_work():
            task = self._task(request.json())
            # There is no word for a cancelled one.
            state = "FAILED" if task.state == "CANCELLED" else task.state
            return state if self._switches.status_data == "text" else {"taskStatus": state}

    def _outputs(self, request: Request) -> Any:
        with self._cloud.at_work():
            task = self._task(request.json())
            if task.state == "CANCELLED":
                raise RefusalError(self._switches.cancelled_code)
            if task.state == "FAILED":
                told = self._switches.failed_data == "reason"
                raise RefusalError(805, data={"failedReason": task.reason} if told else None)
            if task.unfinished:
                raise RefusalError(804 if task.state == "RUNNING" else 813)
            task.polls += 1
            if task.polls <= self._switches.empty_polls:
                return [] if self._switches.empty_data == "list" else None
            files = [self._file(task, number) for number in range(len(task.files()))]
            return files if self._switches.outputs_order == "forward" else files[::-1]

    def _file(self, task: Task, number: int) -> dict[str, Any]:
        output = task.files()[number]
        seconds = round((task.ended or 0.0) - (task.started or 0.0))
        return {
            "fileUrl": self.base_url + self._addresses.give(task, number),
            "fileType": output.kind,
            "taskCostTime": seconds if self._switches.number_times else str(seconds),
            "nodeId": self._id(output.node),
        }

    def _cancel(self, request: Request) -> None:
        body = request.json()
        self._cloud.cancel(self._account(body.get("apiKey")), _task_id(body))

    def _upload(self, request: Request) -> dict[str, Any]:
        form = request.form()
        self._account(form["apiKey"].text if "apiKey" in form else None)
        if "file" not in form or "fileType" not in form:
            raise RefusalError(301)
        name = self._cloud.upload(form["file"].data, form["file"].filename or "")
        return {"fileName": name, "fileType": "input"}

    def _account_status(self, request: Request) -> dict[str, Any]:
        # Spelt like this by this call alone.
        account = self._account(request.json().get("apikey"))
        counts, left = str(self._cloud.unfinished(account)), self._cloud.runs_left(account)
        coins = "1000" if left is None else str(left)
        return {"remainCoins": coins, "currentTaskCounts": counts, "remainMoney": None, "apiType": "NORMAL"}

    def _workflow(self, request: Request) -> dict[str, Any]:
        body = request.json()
        self._account(body.get("apiKey"))
        workflow = self._cloud.workflows.get(str(body.get("workflowId")))
        if workflow is None:
            raise RefusalError(self._switches.wrong_workflow_code)
        nodes: dict[str, Any] = {
            node: {"class_type": "Input", "inputs": dict.fromkeys(fields, _PLACEHOLDER)}
            for node, fields in (workflow.nodes or {}).items()
        }
        nodes |= {output.node: {"class_type": "SaveImage", "inputs": {}} for output in workflow.outputs}
        return {"prompt": json.dumps(nodes)}

    def _account(self, key: Any) -> str:
        if key not in self._cloud.accounts:
            raise RefusalError(self._switches.wrong_key_code)
        return str(key)

    def _task(self, body: dict[str, Any]) -> Task:
        return self._cloud.find(self._account(body.get("apiKey")), _task_id(body))

    def _id(self, text: str) -> str | int:
        return int(text) if self._switches.number_ids and text.isdigit() else text


def _task_id(body: dict[str, Any]) -> str:
    text = str(body.get("taskId", ""))
    if not text.isdigit() or int(text) == 0:
        raise RefusalError(301, "taskId must be positive")
    return text


def _is_node_info(given: Any) -> bool:
    keys = {"nodeId", "fieldName", "fieldValue"}
    return isinstance(given, list) and all(isinstance(info, dict) and keys <= info.keys() for info in given)
