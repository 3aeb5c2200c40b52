"""RunningHub, a cloud that runs ComfyUI workflows: https://www.runninghub.cn/runninghub-api-doc

What it takes and answers is by its documentation and by public programs; the service itself was never called from here.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from ..redact import redact
from ..settings import Settings, SettingsError
from ..table.changes import job_id_in
from ..table.records import WorkflowType, workflow_type_of
from ..wording import Wording, wording_of
from .engine import Engine
from .errors import BusyError, EngineError, NotSentError, RefusedError, UnreachableError, seconds_in
from .history import ABSENT, Place, ResultFile, Sighting

log = logging.getLogger("wfrecovery")

URL: Final = "https://www.runninghub.cn"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, connect=10, sock_read=30)
_UPLOAD_TIMEOUT: Final = aiohttp.ClientTimeout(total=600, connect=10, sock_read=60)
#: Codes of `create` after which the task is surely not accepted and may be later: the account's queue is full, no
#: machine is free, and those that public programs try again.
_BUSY: Final = frozenset({415, 421, 1003, 1011, 1520})
#: Codes with which it refuses these inputs, and would again.
_REFUSED: Final = frozenset({301, 433, 803})
_QUEUED, _RUNNING, _FAILED = 813, 804, 805
_NO_SUCH_TASK: Final = frozenset({423, 807})
#: Codes of a key, and of a workflow, that it does not know.
KEY_UNKNOWN: Final = frozenset({802, 806, 811})
WORKFLOW_UNKNOWN: Final = frozenset({380, 810})
#: Codes that a person has to mend for all tasks, and where.
_FOR_ALL: Final[Mapping[int, Wording]] = {
    **dict.fromkeys(
        KEY_UNKNOWN,
        Wording(
            "the key is not known there → look at RUNNINGHUB_API_KEY",
            "密钥无效 → 请检查 RUNNINGHUB_API_KEY",
        ),
    ),
    416: Wording("the account has no money left → recharge it", "账户余额不足 → 请充值"),
    **dict.fromkeys(
        WORKFLOW_UNKNOWN,
        Wording(
            "it does not know the workflow, or that was never saved and run there → open it on RunningHub, run it "
            "once, and compare its id with the settings",
            "找不到该工作流，或它从未在云端保存并运行过 → 请在 RunningHub 打开并运行一次，再核对设置里的工作流 ID",
        ),
    ),
}
#: HTTP statuses that say: nothing was done, ask at another address.
_ELSEWHERE: Final = frozenset({307, 308})
#: A success may be told before its files are: so many looks are waited for them.
_LOOKS_FOR_FILES: Final = 5


@dataclass(frozen=True)
class CloudWorkflow:
    """A workflow of the account, and which of its nodes takes what."""

    workflow_id: str
    #: name of an input (`product_image`, `model_image`, `composite_image`, `prompt`, or one of your own) → "node.field"
    inputs: Mapping[str, str] = field(default_factory=dict)

    def node_of(self, name: str) -> tuple[str, str]:
        """Node id and field of an input. Raises SettingsError."""
        node, _, name_there = self.inputs.get(name, "").partition(".")
        if not (node and name_there):
            known = ", ".join(sorted(self.inputs)) or "none"
            raise SettingsError(
                Wording(
                    f"which node of workflow {self.workflow_id} takes {name} is not set (known: {known}) → in "
                    f'config.toml under [runninghub."…"]: {name} = "12.image"',
                    f"没有设置工作流 {self.workflow_id} 由哪个节点接收 {name}（已有：{known}）→ 请在 config.toml 的 "
                    f'[runninghub."…"] 下写：{name} = "12.image"',
                )
            )
        return node, name_there


class RunningHubClient(Engine):
    """One account of RunningHub. `workflows`: by workflow type, 图片合成 and 图生视频.

    RunningHub makes its own task ids and knows no idempotency key: what was sent without an answer is asked about.
    """

    def __init__(
        self,
        api_key: str,
        workflows: Mapping[WorkflowType | str, CloudWorkflow] | None = None,
        *,
        base_url: str = URL,
        poll_seconds: float = Engine.poll_seconds,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        #: a secret: never shown
        self.api_key = api_key
        self.workflows = {workflow_type_of(kind): workflow for kind, workflow in (workflows or {}).items()}
        self.poll_seconds = poll_seconds
        self._without_files: dict[str, int] = {}
        self.engine = f"runninghub:{hashlib.sha256(api_key.encode()).hexdigest()[:8]}"

    @classmethod
    def from_settings(cls, settings: Settings) -> RunningHubClient:
        """By RUNNINGHUB_API_KEY, RUNNINGHUB_URL and the table [runninghub] in config.toml. Raises SettingsError."""
        if not settings.runninghub_api_key:
            raise SettingsError(
                Wording(
                    "RUNNINGHUB_API_KEY is not set → RunningHub, your picture, API: copy the key",
                    "没有设置 RUNNINGHUB_API_KEY → RunningHub 右上角头像 → API 控制台，复制密钥",
                )
            )
        workflows = {kind: _workflow(kind, table) for kind, table in settings.runninghub.items()}
        return cls(settings.runninghub_api_key, workflows, base_url=settings.runninghub_url or URL)

    # ------------------------------------------------------------------ what goes in

    async def upload_image(self, path: str | Path) -> str:
        """Upload a picture; the name by which a node's input takes it."""
        path = Path(path)
        form = aiohttp.FormData()
        form.add_field("apiKey", self.api_key)
        form.add_field("fileType", "image")
        form.add_field("file", await asyncio.to_thread(path.read_bytes), filename=path.name)
        answer = await self._post("upload", data=form, timeout=_UPLOAD_TIMEOUT)
        name = _data(answer).get("fileName")
        if answer["code"] != 0 or not isinstance(name, str):
            raise EngineError(f"RunningHub does not take {path.name}: {_said(answer)}")
        return name

    async def workflow_for(self, workflow_type: WorkflowType | str, **inputs: str | Path) -> dict[str, Any]:
        """What `submit` takes: pictures (a `Path`) are uploaded, texts go in as they are.

        `await client.workflow_for("图片合成", product_image=Path("a.png"), prompt="…")`. Raises SettingsError where
        the settings name no workflow, or no node for an input.
        """
        kind = workflow_type_of(workflow_type)
        workflow = self.workflows.get(kind)
        if workflow is None:
            raise SettingsError(
                Wording(
                    f'no workflow of RunningHub is set for {kind.value} → [runninghub."{kind.value}"] in config.toml',
                    f'没有为 {kind.value} 设置 RunningHub 工作流 → 请在 config.toml 写 [runninghub."{kind.value}"]',
                )
            )
        nodes = {name: workflow.node_of(name) for name in inputs}  # before anything is uploaded
        infos = []
        for name, value in inputs.items():
            told = await self.upload_image(value) if isinstance(value, Path) else value
            node, field_name = nodes[name]
            infos.append({"nodeId": node, "fieldName": field_name, "fieldValue": told})
        return {"workflowId": workflow.workflow_id, "nodeInfoList": infos}

    # ------------------------------------------------------------------ the engine

    async def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> str:  # noqa: ARG002 - it takes no id
        """Create a task there; each one costs money. Raises as `Engine.submit` says."""
        answer = await self._post("create", json={"apiKey": self.api_key, **workflow})
        code, said = answer["code"], _said(answer)
        if code == 0:
            task_id = job_id_in(_data(answer).get("taskId"))
            if task_id in (None, "0"):
                raise UnreachableError(f"RunningHub accepted without an id: {said}")
            return task_id
        if code in _BUSY:
            raise BusyError(f"RunningHub takes no more tasks now: {said}")
        if code in _REFUSED:
            raise RefusedError(Wording(f"RunningHub refuses: {said}", f"RunningHub 拒绝：{said}"))
        if code in _FOR_ALL:
            raise NotSentError(Wording("RunningHub: ", "RunningHub：") + _FOR_ALL[code] + f" ({said})")
        raise UnreachableError(f"RunningHub: {said}")

    async def look_up(self, job_id: str) -> Sighting:
        """Where a task is, by its outputs: the service's own `status` is no longer maintained."""
        answer = await self._post("outputs", json={"apiKey": self.api_key, "taskId": job_id})
        match answer["code"]:
            case 0:
                return self._succeeded(job_id, answer["data"])
            case code if code == _QUEUED:
                return Sighting(Place.WAITING)
            case code if code == _RUNNING:
                return Sighting(Place.RUNNING)
            case code if code == _FAILED:
                return Sighting(Place.FAILED, message=_why(answer["data"]))
            case code if code in _NO_SUCH_TASK:
                return ABSENT
        raise UnreachableError(f"RunningHub: {_said(answer)}")

    def _succeeded(self, job_id: str, data: Any) -> Sighting:
        files = tuple(
            ResultFile.from_url(item["fileUrl"], node=str(item["nodeId"]) if item.get("nodeId") is not None else None)
            for item in (data if isinstance(data, list) else ())
            if isinstance(item, Mapping) and isinstance(item.get("fileUrl"), str)
        )
        looks = self._without_files[job_id] = 0 if files else self._without_files.get(job_id, 0) + 1
        if files or looks > _LOOKS_FOR_FILES:
            self._without_files.pop(job_id, None)
            return Sighting(Place.SUCCEEDED, files)
        return Sighting(Place.RUNNING)

    async def cancel(self, job_id: str) -> None:
        """Stop a task; one that has ended is left. Raises EngineError."""
        answer = await self._post("cancel", json={"apiKey": self.api_key, "taskId": job_id})
        if answer["code"] not in (0, 817, *_NO_SUCH_TASK):
            raise EngineError(f"RunningHub does not stop {job_id}: {_said(answer)}")

    # ------------------------------------------------------------------ wire

    async def _post(
        self,
        call: str,
        *,
        timeout: aiohttp.ClientTimeout = _TIMEOUT,
        **body: Any,
    ) -> dict[str, Any]:
        """The answer, with `code` as a number. Raises BusyError and NotSentError where surely nothing was done, and
        UnreachableError."""
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
                session.post(f"{self.base_url}/task/openapi/{call}", allow_redirects=False, **body) as response,
            ):
                if response.status in _ELSEWHERE:  # followed, the key would go there
                    raise NotSentError(f"RunningHub is not at {self.base_url} (HTTP {response.status}): look at that")
                if response.status == 429:
                    raise BusyError("RunningHub: too many requests", seconds_in(response.headers.get("Retry-After")))
                answer = await response.json(content_type=None)
        except EngineError:
            raise
        except aiohttp.ClientConnectorError as error:
            raise NotSentError(f"RunningHub cannot be reached at {self.base_url}: {redact(str(error))}") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
            if type(error).__name__ == "ConnectionTimeoutError":  # aiohttp 3.10 and newer tell it apart
                raise NotSentError(f"RunningHub cannot be reached at {self.base_url}: no connection in time") from error
            raise UnreachableError(f"RunningHub did not answer: {type(error).__name__}") from error
        except ValueError as error:
            raise UnreachableError(f"RunningHub's answer is no JSON (HTTP {response.status})") from error
        code = answer.get("code") if isinstance(answer, Mapping) else None
        try:
            return {"msg": "", "data": None, **answer, "code": int(str(code))}
        except (TypeError, ValueError):
            raise UnreachableError(f"RunningHub's answer has no code (HTTP {response.status})") from None


def _workflow(kind: str, table: Any) -> CloudWorkflow:
    """What stands in config.toml under [runninghub."图片合成"]. Raises SettingsError."""
    try:
        workflow_type_of(kind)
    except ValueError as error:
        raise SettingsError(f"[runninghub.{kind!r}]: {error}") from None
    if not isinstance(table, Mapping) or not all(isinstance(value, str | int) for value in table.values()):
        raise SettingsError(f'[runninghub."{kind}"] takes workflow_id and, for each input, "node.field"')
    inputs = {name: str(value) for name, value in table.items() if name != "workflow_id"}
    workflow_id = str(table.get("workflow_id") or "")
    if not workflow_id.isdigit():
        raise SettingsError(
            Wording(
                f'[runninghub."{kind}"] workflow_id is the long number in the address of the workflow on RunningHub',
                f'[runninghub."{kind}"] 的 workflow_id 是 RunningHub 工作流网址里的那串数字',
            )
        )
    return CloudWorkflow(workflow_id, inputs)


def _data(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    data = answer["data"]
    return data if isinstance(data, Mapping) else {}


def _said(answer: Mapping[str, Any]) -> str:
    return redact(f"{answer['msg'] or 'no message'} (code {answer['code']})")


def _why(data: Any) -> Wording:
    """The node's own words, without its inputs and traceback."""
    reason = data.get("failedReason") if isinstance(data, Mapping) else None
    reason = reason if isinstance(reason, Mapping) else {}
    message, node = redact(str(reason.get("exception_message") or "").strip()), reason.get("node_name")
    if not message:
        return Wording("RunningHub reported a failure without a reason", "RunningHub 报告失败，但没有给出原因")
    return wording_of(f"{node}: {message}" if node else message)
