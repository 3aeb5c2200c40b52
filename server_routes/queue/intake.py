"""Between `POST /prompt` and its answer: the prompt gets its id and its files the task's, and the record is awaited."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import TaskError, canonical_uuid
from .row_tag import RowTag, row_tag_of
from .writing import PATIENCE_SECONDS, Writer

log = logging.getLogger("wfrecovery")


@dataclass
class Post:
    """One `POST /prompt`: ids claimed for it, and writes that its answer waits for."""

    claimed: set[str] = field(default_factory=set)
    writes: list[Future[Any]] = field(default_factory=list)

    async def written(self) -> None:
        """Wait until the records are on disk or could not be written; not for ever, and without cancelling them."""
        if self.writes:
            await asyncio.wait([asyncio.wrap_future(future) for future in self.writes], timeout=PATIENCE_SECONDS)


_post: contextvars.ContextVar[Post | None] = contextvars.ContextVar("wfrecovery_post", default=None)


def accepted(task_id: str | None, write: Future[Any]) -> None:
    """The prompt of the request that is being answered was accepted; its answer waits for this write."""
    post = _post.get()
    if post is not None:
        post.claimed.discard(task_id or "")
        post.writes.append(write)


class Intake:
    """What happens to a prompt before ComfyUI validates it. On the event loop."""

    def __init__(self, db: DatabaseManager, writer: Writer, record_others: Callable[[], bool]) -> None:
        self._db, self._writer, self._record_others = db, writer, record_others

    @contextlib.contextmanager
    def post(self) -> Iterator[Post]:
        """One `POST /prompt`: ids that it does not use up are given back."""
        post = Post()
        token = _post.set(post)
        try:
            yield post
        finally:
            _post.reset(token)
            for task_id in post.claimed:
                self._writer.submit(self._release, task_id)

    def on_prompt(self, json_data: Any) -> Any:
        """ComfyUI's own hook, before validation: gives the prompt its id, and its files the task's."""
        try:
            if isinstance(json_data, dict) and isinstance(json_data.get("prompt"), dict):
                self._prepare(json_data)
        except Exception as error:
            self._writer.report("a prompt was not prepared for recording", error)
        return json_data

    def _prepare(self, json_data: dict[str, Any]) -> None:
        extra_data = json_data.get("extra_data")
        if not isinstance(extra_data, dict):
            extra_data = json_data["extra_data"] = {}
        given = json_data.get("prompt_id")
        json_data["prompt_id"] = prompt_id = canonical_uuid(given) or str(uuid.uuid4())
        if given is not None and given != prompt_id:
            log.warning("[wfrecovery] prompt_id %r is no canonical UUID; the prompt runs as %s", given, prompt_id)
        tag = row_tag_of(json_data["prompt"], extra_data)
        if tag.row_number is None and not self._record_others():
            return
        png_info = extra_data.get("extra_pnginfo")
        if not isinstance(png_info, dict):
            png_info = extra_data["extra_pnginfo"] = {}
        before = png_info.get("wfrecovery")
        wanted = tag.task_id or (before.get("task_id") if isinstance(before, dict) else None)
        png_info["wfrecovery"] = {"task_id": self._task_id(wanted, prompt_id, tag), "prompt_id": prompt_id}

    def _task_id(self, wanted: str | None, prompt_id: str, tag: RowTag) -> str:
        """The id that was sent along, where it is free or means this prompt already; else one of our own."""
        if wanted is not None:
            with contextlib.suppress(TaskError, OSError):
                record = self._db.table.get(wanted)
                if record.comfyui_task_id == prompt_id and not record.stage.final:
                    return wanted
                wanted = None
        post = _post.get()
        task_id = self._db.table.claim_id(tag.workflow_type, wanted=wanted)
        if post is not None:
            post.claimed.add(task_id)
        return task_id

    def _release(self, task_id: str) -> None:
        try:
            self._db.table.release_id(task_id)
        except OSError as error:
            self._writer.report(f"the unused id {task_id} was not given back", error)
