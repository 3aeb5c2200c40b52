"""One run of a `main.py`, or of the command line, in a process of its own; and its line to the ComfyUIs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from life import Life, Request
from process import Computer, Process

from wfrecovery.bridge.engines.comfyui import ComfyUIClient, ComfyUIUnreachableError
from wfrecovery.bridge.recovery.manager import TaskRecoveryManager
from wfrecovery.bridge.settings import LostPrompts, Settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import WorkflowType
from wfrecovery.bridge.table.rows import RowData

#: Seconds after which nobody waits for an answer any more.
_PATIENCE = 60.0
IMAGE = WorkflowType.IMAGE_COMPOSITION


@dataclass
class Reply:
    """As much of aiohttp's answer as the client looks at."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content_length(self) -> int:
        return len(self.body)

    @property
    def content(self) -> Reply:
        return self

    async def json(self, content_type: str | None = None) -> Any:
        return json.loads(self.body)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        yield self.body


class Line(ComfyUIClient):
    """The client without sockets: `there` is the ComfyUI at the address, if one listens."""

    def __init__(self, address: str, there: Callable[[], Life | None]) -> None:
        super().__init__(f"http://{address}")
        self._there = there

    @contextlib.asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[Any]:
        loop, life = asyncio.get_running_loop(), self._there()
        if life is None:
            raise ComfyUIUnreachableError("connection refused")
        answer: asyncio.Future[Reply | None] = loop.create_future()

        def answered(task: asyncio.Task[Reply]) -> None:
            if loop.is_closed() or answer.done():  # whoever asked is gone
                return
            lost = life.dead or task.cancelled() or task.exception() is not None
            loop.call_soon_threadsafe(_give, answer, None if lost else task.result())

        life.loop.create_task(_served(life, method, path, options)).add_done_callback(answered)
        try:
            reply = await asyncio.wait_for(answer, _PATIENCE)
        except asyncio.TimeoutError:
            reply = None
        if reply is None:
            raise ComfyUIUnreachableError("connection lost")
        yield reply

    @contextlib.asynccontextmanager
    async def _events(self) -> AsyncIterator[Any]:
        yield self

    async def next(self, *_: Any) -> None:
        """Nothing is heard: it is asked again after a while."""
        await asyncio.sleep(self._poll_seconds)


def _give(answer: asyncio.Future[Reply | None], reply: Reply | None) -> None:
    if not answer.done():
        answer.set_result(reply)


async def _served(life: Life, method: str, path: str, options: Mapping[str, Any]) -> Reply:
    """What the ComfyUI answers."""
    parts = urlsplit(path)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()} | dict(options.get("params") or {})
    if parts.path == "/view":
        file = life.plugin._host.output_dir / query.get("subfolder", "") / query["filename"]
        return Reply(200, file.read_bytes()) if file.is_file() else Reply(404)
    found = life.route(method, parts.path)
    if found is None:
        return Reply(404)
    handler, match = found
    request = Request(method, parts.path, options.get("json"), query, **match)
    response = await life.served(request, handler)
    return Reply(response.status, (response.text or "").encode())


class MainProgram(Process):
    """One process. It runs its batch, goes back to its menu, and runs it again, until it is killed."""

    def __init__(self, computer: Computer, output: Path, graph: Callable[[int], dict[str, Any]], *, hand: str) -> None:
        super().__init__(computer)
        self._graph, self._hand = graph, hand
        with self.on():
            self.db = self.opened(DatabaseManager(output, disk=self.disk, around=computer.owners()))
        self.batch: asyncio.Task[Any] | None = None

    @property
    def busy(self) -> bool:
        return self.batch is not None and not self.batch.done()

    def begin(self, client: Line, rows: Sequence[int]) -> None:
        """Recover, then work on the rows."""
        with self.on():
            self.recovery = TaskRecoveryManager(self.db, client, settings=Settings(lost_prompts=LostPrompts.AUTO))
            self.batch = self.loop.create_task(self._all(rows))

    def ctrl_c(self) -> None:
        """Back to the menu, as `asyncio.run` ends; the process lives on."""
        with self.on():
            self.end_loop()
            self.loop, self.batch = self.new_loop(), None

    async def _all(self, rows: Sequence[int]) -> None:
        await self.recovery.check_and_recover_tasks()
        todo = self.recovery.rows_to_do([row_data(number) for number in rows], IMAGE)
        await asyncio.gather(*map(self._guarded, todo))
        await self.recovery.wait_until_done()

    async def _guarded(self, row: RowData) -> None:
        """One row's trouble does not stop the others; the next run takes it."""
        with contextlib.suppress(Exception):
            task_id = self.db.add_workflow_task(row, IMAGE)
            await self.recovery.submit(task_id, self._graph(row.row_number - 1))
            await self.recovery.finish(task_id)


def row_data(number: int) -> RowData:
    """A row as it is read from the sheet; it stands below the header."""
    return RowData(
        row_number=number + 1,
        product_image=None,
        model_image=None,
        prompt=f"提示{number}",
        status="否",
        composite_image=None,
        product_name=f"产品{number}",
        model_name=f"模特{number}",
        video_status="",
        original_data={},
    )
