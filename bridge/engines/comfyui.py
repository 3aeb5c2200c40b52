"""ComfyUI over HTTP and websocket, as `main.py` uses it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

import aiohttp

from ..in_time import within
from ..redact import redact
from ..results.expected import NodeClass, node_classes_of_object_info
from ..table.record_json import parsed, publishing_in, row_in
from ..table.records import RecordError, Stage, TaskRecord
from ..table.values import OwnerKind
from ..wording import Wording
from .address import engine_at, is_this_computer, login_in, without_login
from .downloads import save
from .errors import BusyError, EngineError, RefusedError, UnreachableError, seconds_in
from .history import COME_TO_REST, UNKNOWN, Place, ResultFile, Sighting
from .in_part import lacks_by_answer, seen_in
from .refusals import left_out_reason, refusal_text
from .submitted import SubmittedId, submit_for_current

log = logging.getLogger("wfrecovery")

#: Seconds for one request; rendering is not waited for inside a request.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=120, connect=10, sock_read=60)
#: Websocket events can be missed (a restart, a proxy): queue and history are asked at least this often.
POLL_SECONDS: Final = 2.0
#: Whether there is a plugin is not asked again for so long: none comes without a start of ComfyUI.
_NO_PLUGIN_SECONDS: Final = 1.0
#: how long to wait after each interruption, in seconds, for a prompt to end by it
_INTERRUPT_AGAIN: Final = (0.2, 1.0, 0.0)

Progress = Callable[[int, int], None]


class ComfyUIError(EngineError):
    """ComfyUI did not do what was asked."""


class ComfyUIUnreachableError(ComfyUIError, UnreachableError):
    """No answer: whether the request was carried out is not known."""


class PromptRefusedError(ComfyUIError, RefusedError):
    """ComfyUI validated the prompt and said no; `reason` is its own words."""

    def __init__(self, reason: Wording | str) -> None:
        super().__init__(reason)
        self.args = (f"ComfyUI refuses the prompt: {self.reason}",)


def new_prompt_id() -> str:
    """A prompt_id in the form that ComfyUI wants from 0.24.0 on."""
    return str(uuid.uuid4())


class ComfyUIClient:
    """A ComfyUI server, with or without the plugin in it."""

    def __init__(self, base_url: str = "http://127.0.0.1:8188", *, poll_seconds: float = POLL_SECONDS) -> None:
        #: without a name and password, which are sent along and never shown
        self.base_url = without_login(base_url)
        self._login = login_in(base_url)
        self.client_id = str(uuid.uuid4())
        self._poll_seconds = poll_seconds
        self._no_plugin_until = float("-inf")
        #: prompts whose answer was heard: all that makes their result was accepted
        self._accepted: set[str] = set()
        #: whether the environment's proxy is asked; it has no business with requests to this computer
        self._trust_env = not is_this_computer(self.base_url)

    #: It takes the prompt_id that we make.
    makes_own_ids: ClassVar[bool] = False

    @property
    def engine(self) -> str:
        """What records call this ComfyUI."""
        return engine_at(self.base_url)

    # ------------------------------------------------------------------ sending

    async def upload_image(self, path: str | Path, *, name: str | None = None) -> str:
        """Put a picture into ComfyUI's input folder; returns the name that LoadImage takes.

        An existing file of that name is replaced, so a repeated upload makes no second copy.
        """
        path = Path(path)
        form = aiohttp.FormData()
        form.add_field("image", await asyncio.to_thread(path.read_bytes), filename=name or path.name)
        form.add_field("overwrite", "true")
        async with self._request("POST", "/upload/image", data=form) as response:
            if response.status != 200:
                raise ComfyUIError(f"ComfyUI did not take {path.name}: HTTP {response.status}")
            answer = await response.json()
        folder = answer.get("subfolder")
        return f"{folder}/{answer['name']}" if folder else str(answer["name"])

    async def submit_workflow(
        self, workflow: Mapping[str, Any], *, prompt_id: str | None = None, task: Mapping[str, Any] | None = None
    ) -> SubmittedId:
        """Queue a graph (API format) and return its prompt_id, which also answers to `.task_id`.

        It is sent for the task that was entered last in this context; else pass a `prompt_id` that is on disk already,
        and the task's record, so that the row travels with the prompt.
        Raises PromptRefusedError, BusyError, or ComfyUIUnreachableError after which `look_up` tells whether it arrived.
        """
        submitted = await submit_for_current(self.engine, workflow) if prompt_id is None and task is None else None
        if submitted is not None:
            return submitted
        body: dict[str, Any] = {
            "prompt": workflow,
            "prompt_id": prompt_id or new_prompt_id(),
            "client_id": self.client_id,
        }
        if task is not None:
            # Savers write `extra_pnginfo` into the file, so that a result tells whose it is, also without the plugin.
            tag = {"task_id": task["task_id"], "prompt_id": body["prompt_id"]}
            body["extra_data"] = {"wfrecovery": row_tag(task), "extra_pnginfo": {"wfrecovery": tag}}
        async with self._request("POST", "/prompt", json=body) as response:
            if response.status == 429:  # of a proxy: it has not come here
                raise BusyError("ComfyUI: too many requests", seconds_in(response.headers.get("Retry-After")))
            if response.status == 400:
                raise PromptRefusedError(refusal_text(await self._json(response)))
            if response.status != 200:
                said = f"ComfyUI answered HTTP {response.status} to POST /prompt"
                # 502 is a proxy's: ComfyUI has closed the connection
                lost = ConnectionAbortedError(said) if response.status == 502 else None
                raise ComfyUIUnreachableError(said) from lost
            answer = await self._json(response)
        if task is not None and answer.get("node_errors"):
            await self._check_accepted(body["prompt_id"], workflow, answer["node_errors"], task.get("workflow_type"))
        self._accepted.add(body["prompt_id"])
        return SubmittedId(answer["prompt_id"])

    async def _check_accepted(self, prompt_id: str, workflow: Mapping[str, Any], node_errors: Any, kind: Any) -> None:
        """ComfyUI runs what is valid of a prompt. Without what makes the row's result it is stopped, and raises
        PromptRefusedError; where there is the plugin, that has it end as failed."""
        lacks = await lacks_by_answer(self.node_classes, workflow, node_errors, kind)
        if lacks:
            with contextlib.suppress(ComfyUIError):
                if await self.plugin_task(prompt_id) is not None:
                    return
                await self.cancel(prompt_id)
            raise PromptRefusedError(left_out_reason(lacks, node_errors))

    async def cancel(self, prompt_id: str) -> bool:
        """Take a prompt out of the queue, or interrupt it; nothing where it has ended. Whether it is there no more: a
        node may hear nothing for long. ComfyUI forgets an interruption that comes just before its executor begins
        (``execute_async``): what runs on is interrupted again."""
        await self._tell("/queue", {"delete": [prompt_id]})
        for pause in _INTERRUPT_AGAIN:
            if prompt_id not in await self.prompts_in_queue():
                return True
            await self._tell("/interrupt", {"prompt_id": prompt_id})
            await asyncio.sleep(pause)
        return False

    # ------------------------------------------------------------------ asking

    async def is_reachable(self) -> bool:
        """Whether ComfyUI answers."""
        try:
            async with self._request("GET", "/queue") as response:
                return response.status == 200
        except ComfyUIError:
            return False

    async def plugin_status(self) -> dict[str, Any] | None:
        """The plugin's status, or None where ComfyUI runs without it."""
        status: dict[str, Any] | None = await self._get("/wfrecovery/status")
        return status

    async def plugin_task(self, prompt_id: str) -> dict[str, Any] | None:
        """The plugin's record of a prompt; None where it has none, or there is no plugin."""
        clock = asyncio.get_running_loop().time
        if clock() < self._no_plugin_until:
            return None
        answer = await self._get(f"/wfrecovery/tasks?comfyui_task_id={quote(prompt_id, safe='')}")
        if answer is None:
            self._no_plugin_until = clock() + _NO_PLUGIN_SECONDS
        return answer["tasks"][0] if answer and answer.get("tasks") else None

    async def node_classes(self, prompt: Mapping[str, Any]) -> dict[str, NodeClass]:
        """What ComfyUI says of the node classes of a graph, by their names; classes that it does not have are left
        out."""
        names = {str(node.get("class_type")) for node in prompt.values() if isinstance(node, Mapping)}
        info: dict[str, Any] = {}
        for name in sorted(names):
            info.update(await self._get(f"/object_info/{quote(name, safe='')}") or {})
        return node_classes_of_object_info(info)

    async def ask_plugin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """HTTP status and JSON answer of one of the plugin's routes (None where the answer is no JSON)."""
        # Writes are taken as JSON only, so that a page of another origin cannot send them.
        sent = dict(body or {}) if method == "POST" else None
        async with self._request(method, path, json=sent) as response:
            try:
                return response.status, await response.json(content_type=None)
            except ValueError:
                return response.status, None

    async def wait_until_reachable(self, timeout: float) -> None:
        """Return when ComfyUI answers; raises ComfyUIUnreachableError after `timeout` seconds."""
        ends = asyncio.get_running_loop().time() + timeout
        while not await self.is_reachable():
            if asyncio.get_running_loop().time() > ends:
                raise ComfyUIUnreachableError(f"ComfyUI at {self.base_url} did not answer for {timeout:g} s")
            await asyncio.sleep(min(1.0, self._poll_seconds))

    async def look_up(self, prompt_id: str) -> Sighting:
        """Where a prompt is. The plugin is asked first: it knows what ComfyUI forgets when it restarts."""
        try:
            told = await self.plugin_task(prompt_id)
            record = None if told is None else parsed(told)
            if record is not None and _says_where(record):
                return sighting_of_record(record)
            # The queue before the history: a prompt that ends in between is in the second.
            place = (await self.prompts_in_queue()).get(prompt_id)
            history = await self._get(f"/history/{quote(prompt_id, safe='')}")
            if place is not None and history is not None:
                return Sighting(place)
            if history is None:
                return UNKNOWN
            return await seen_in(history, prompt_id, self.node_classes, heard=prompt_id in self._accepted)
        except (ComfyUIError, RecordError, AttributeError, LookupError, TypeError):
            return UNKNOWN

    async def prompts_in_queue(self) -> dict[str, Place]:
        """Where each prompt of the queue is, by prompt_id: it waits, or runs. Raises ComfyUIUnreachableError."""
        try:
            return _places(await self._get("/queue"))
        except (AttributeError, LookupError, TypeError) as error:
            raise ComfyUIUnreachableError("ComfyUI's answer to GET /queue is no queue") from error

    async def wait_for_completion(self, prompt_id: str, *, on_progress: Progress | None = None) -> Sighting:
        """Follow a prompt to its end, over restarts of ComfyUI; or until it waits for a person's decision.

        A prompt that is gone is seen twice as ABSENT first.
        """
        absent = 0
        async with self._events() as events:
            while True:
                seen = await self.look_up(prompt_id)
                absent = absent + 1 if seen.place is Place.ABSENT else 0
                if absent > 1 or seen.place in COME_TO_REST:
                    return seen
                await events.next(prompt_id, on_progress)

    async def download(self, file: ResultFile, target: Path) -> None:
        """Fetch a result through `/view` into `target`, whole or not at all, through a `.part` file."""
        query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        async with self._request("GET", "/view", params=query) as response:
            await save(response, file.path, target)

    # ------------------------------------------------------------------ wire

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            # A session per request: nothing to close for the caller, and to one's own ComfyUI it costs little.
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=self._trust_env, headers=self._login) as session,
                session.request(method, self.base_url + path, **options) as response,
            ):
                yield response
        except UnreachableError:
            raise
        except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as error:
            what = redact(str(error)) or type(error).__name__
            raise ComfyUIUnreachableError(f"no answer from ComfyUI at {self.base_url}: {what}") from error

    async def _tell(self, path: str, body: Mapping[str, Any]) -> None:
        async with self._request("POST", path, json=body) as response:
            if response.status >= 400:
                raise ComfyUIError(f"ComfyUI answered HTTP {response.status} to POST {path}")

    async def _get(self, path: str) -> Any:
        """The JSON answer, None for 404; anything else is no answer."""
        async with self._request("GET", path) as response:
            if response.status == 404:
                return None
            if response.status != 200:
                raise ComfyUIUnreachableError(f"ComfyUI answered HTTP {response.status} to GET {path}")
            return await self._json(response)

    async def _json(self, response: aiohttp.ClientResponse) -> Any:
        try:
            return await response.json(content_type=None)
        except ValueError as error:
            raise ComfyUIUnreachableError(f"ComfyUI's answer is no JSON (HTTP {response.status})") from error

    @contextlib.asynccontextmanager
    async def _events(self) -> AsyncIterator[_Events]:
        async with aiohttp.ClientSession(trust_env=self._trust_env, headers=self._login) as session:
            events = _Events(session, f"{self.base_url}/ws?clientId={self.client_id}", self._poll_seconds)
            try:
                yield events
            finally:
                await events.close()


class _Events:
    """Wakes a follower when something happens in the queue. Only a hint: the poll interval is the net."""

    def __init__(self, session: aiohttp.ClientSession, url: str, poll_seconds: float) -> None:
        self._session, self._url, self._poll_seconds = session, url, poll_seconds
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def next(self, prompt_id: str, on_progress: Progress | None) -> None:
        """Return when a prompt was queued or ended, at the latest after the poll interval."""
        ends = asyncio.get_running_loop().time() + self._poll_seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            try:
                message = await within(left, self._receive())
            except asyncio.TimeoutError:  # since Python 3.11 an OSError, too
                return
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(left)  # ComfyUI is down: poll until it is back
                return
            if message.type is aiohttp.WSMsgType.TEXT:
                if self._ends_wait(message.data, prompt_id, on_progress):
                    return
            elif message.type is not aiohttp.WSMsgType.BINARY:
                await self.close()
                await asyncio.sleep(max(0.0, ends - asyncio.get_running_loop().time()))

    async def _receive(self) -> aiohttp.WSMessage:
        if self._socket is None:
            self._socket = await self._session.ws_connect(self._url)
        return await self._socket.receive()

    def _ends_wait(self, text: str, prompt_id: str, on_progress: Progress | None) -> bool:
        try:
            event = json.loads(text)
        except ValueError:
            return False
        data = event.get("data") or {}
        if event.get("type") == "progress" and data.get("prompt_id") == prompt_id and on_progress:
            on_progress(int(data.get("value", 0)), int(data.get("max", 0)))
        return event.get("type") == "status" or (event.get("type") == "executing" and data.get("node") is None)

    async def close(self) -> None:
        """Close the socket; the next wait opens a new one."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None


def _places(queue: Mapping[str, Any]) -> dict[str, Place]:
    """Of ComfyUI's answer to GET /queue."""
    lists = ((Place.WAITING, "queue_pending"), (Place.RUNNING, "queue_running"))
    return {item[1]: place for place, key in lists for item in queue[key]}


def row_tag(task: Mapping[str, Any]) -> dict[str, Any]:
    """The task as it travels in `extra_data.wfrecovery`; with the table that it is sent from, where that is told."""
    names = ("task_id", "row_number", "product_name", "model_name", "workflow_type")
    sent_from = {"table": task["table_id"]} if task.get("table_id") else {}
    cells = {name: value for name, value in row_in(task).items() if name != "original_data"}  # these are ours to keep
    tag = {**{name: task[name] for name in names}, "feishu_row_data": cells}
    row = row_in(task, "row")
    return {**tag, **({"row": row} if row else {}), **publishing_in(task), **sent_from}


_PLACES: Final = {
    Stage.CREATED: Place.WAITING,
    Stage.QUEUED: Place.WAITING,
    Stage.RUNNING: Place.RUNNING,
    Stage.ASKING: Place.ASKING,
    Stage.FINISHED: Place.SUCCEEDED,
    Stage.FAILED: Place.FAILED,
    Stage.CANCELLED: Place.INTERRUPTED,
}


def _says_where(record: TaskRecord) -> bool:
    """Whether the plugin's record tells where the prompt is. What a main.py has entered into a shared table, or taken
    over from a ComfyUI that was down, has perhaps never arrived there: queue and history decide."""
    if record.stage is Stage.CREATED:
        return False
    return record.stage.final or record.owner is None or record.owner.kind == OwnerKind.COMFYUI


def sighting_of_record(record: TaskRecord) -> Sighting:
    """What the plugin's record says of a prompt."""
    place = _PLACES[record.stage]
    results = record.results if place is Place.SUCCEEDED else ()
    files = tuple(replace(ResultFile.from_path(result.path), node=result.node) for result in results)
    return Sighting(place, files, record.reason, record.unlisted)
