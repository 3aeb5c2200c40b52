"""What a run of `main.py` has to do with delivery: who delivers, and what the plugin has delivered for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeGuard

from ..engines.comfyui import ComfyUIError, WorkflowClient
from ..feishu.publisher import FlushReport, Publisher
from ..table.manager import DatabaseManager
from ..table.record_json import delivery_in
from ..table.records import TaskRecord
from ..table.values import FeishuState

#: At the end of a run, results that Feishu does not take at once are pushed again for so long.
LAST_PUSH_SECONDS: Final = 60.0


class RunDelivery:
    """Delivers by the plugin where it has Feishu settings, else from here (`publisher`), where that is set."""

    def __init__(self, db: DatabaseManager, comfy: WorkflowClient, publisher: Publisher | None) -> None:
        self._db, self._comfy, self._publisher = db, comfy, publisher

    async def publish(self) -> FlushReport:
        """Deliver what waits in the outbox."""
        try:
            plugin = await self._comfy.plugin_status()
        except ComfyUIError:  # what the plugin was to deliver, it still will
            theirs = await asyncio.to_thread(self._left_to_plugin)
        else:
            if not _publishes(plugin):
                theirs = frozenset()
            elif await asyncio.to_thread(self._db.table.is_shared_with, plugin):
                return FlushReport()  # one table: its outbox is the plugin's
            else:
                theirs = await self._follow()
        if self._publisher is None:
            return FlushReport()
        return await asyncio.to_thread(self._publisher.flush, theirs)

    async def publish_rest(self) -> None:
        """The last push of a run. That Feishu is busy or limits for a moment leaves nothing for the next run."""
        await self.publish()
        if self._publisher is None or await self.plugin_publishes():
            return
        end = time.monotonic() + LAST_PUSH_SECONDS
        while time.monotonic() < end and await asyncio.to_thread(self._ours_to_push):
            await asyncio.sleep(1.0)
            await self.publish()

    async def plugin_publishes(self) -> bool:
        """Whether the plugin delivers."""
        try:
            return _publishes(await self._comfy.plugin_status())
        except ComfyUIError:
            return False

    def _ours_to_push(self) -> bool:
        return any(task.outbox.by != "plugin" for task in self._db.unpushed())

    def _left_to_plugin(self) -> frozenset[str]:
        return frozenset(task.task_id for task in self._db.unpushed() if task.outbox.by == "plugin")

    async def _follow(self) -> frozenset[str]:
        """Take over from the plugin's records what was pushed or blocked there; returns the tasks that it delivers.

        Until then they stay in our outbox, so that their rows are not taken again.
        """
        theirs = set()
        for task in await asyncio.to_thread(self._db.unpushed):
            try:
                record = await self._comfy.plugin_task(task.comfyui_task_id) if task.comfyui_task_id else None
            except ComfyUIError:
                theirs.add(task.task_id)  # cannot be asked now: rather later than twice
                continue
            if record is not None and record["row_number"] is not None:
                theirs.add(task.task_id)
                await asyncio.to_thread(self._db.table.update, task.task_id, partial(_as_delivered, record))
        return frozenset(theirs)


def _publishes(plugin: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether the plugin has Feishu settings; else `main.py` has to push."""
    return bool(plugin and plugin["feishu"]["configured"])


def _as_delivered(theirs: Mapping[str, Any], task: TaskRecord) -> TaskRecord:
    """What became of the plugin's record of the same prompt is what became of ours."""
    delivery = delivery_in(theirs)
    if delivery is None:
        return task
    superseded = delivery.state is FeishuState.OFF and delivery.superseded_by is not None
    if delivery.state not in (FeishuState.PUSHED, FeishuState.BLOCKED) and not superseded:
        return task
    taken_over = ("state", "last_error", "last_error_zh", "pushed_at")
    return task.with_outbox(**{name: getattr(delivery, name) for name in taken_over})
