"""What a run of `main.py` has to do with delivery: whom it names when it submits, what that one has delivered, and when
it takes over.

What is named stands in the record. Where a record names nobody (an older version has written it, or an older plugin is
there), who delivers is asked each time: the plugin where it has Feishu settings, else this run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ..engines.errors import EngineError
from ..engines.in_use import EngineInUse
from ..feishu.publisher import FlushReport, Publisher
from ..table.database import Change
from ..table.manager import DatabaseManager
from ..table.publishers import Naming, may_deliver, named, taken_from_other, waiting_for_document
from ..table.record_json import delivery_in, publishing_in
from ..table.records import TaskError, TaskRecord, WorkflowStatus
from ..table.values import FeishuState
from .later import Later
from .plugin import Plugin, leaves_it, plugin_of, record_of

log = logging.getLogger("wfrecovery")

#: At the end of a run, results that Feishu does not take at once are pushed again for so long.
LAST_PUSH_SECONDS: Final = 60.0
#: So long a publisher has not answered, or has no record of the task, before this run delivers in its place.
OUT_OF_REACH_SECONDS: Final = 180.0


class RunDelivery:
    """Leaves to the plugin what names it, and delivers from here (`publisher`, where Feishu is set up) what names our
    table. `clock`: seconds, for how long a publisher was out of reach."""

    def __init__(
        self,
        db: DatabaseManager,
        engine: EngineInUse,
        publisher: Publisher | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db, self._engine, self._publisher, self._clock = db, engine, publisher, clock
        #: what was left to others at the last look
        self._left: frozenset[str] = frozenset()
        #: since when the publisher of a task was out of reach
        self._missing: dict[str, float] = {}
        #: of which tasks the plugin has said that it leaves them to us
        self._agreed: set[str] = set()
        #: when what waits for company has waited long enough
        self._later = Later(self.publish_in_company)

    # ------------------------------------------------------------------ naming

    async def naming(self, task: TaskRecord) -> Change:
        """The change that names who delivers a task that is about to be submitted; once named, it stays."""
        if task.publisher is not None:
            return partial(named, Naming())
        plugin = await plugin_of(self._engine.plugin_lately)
        if self._publisher is not None and plugin is not None and plugin.document not in (None, self._document):
            await asyncio.to_thread(self._publisher.which.find_document)  # one sheet may have two addresses
        naming = name(await self._table_id(), self._document, plugin)
        sheet = None if self._publisher is None else self._publisher.which.sheet
        return partial(named, dataclasses.replace(naming, sheet=sheet))

    @property
    def _document(self) -> str | None:
        return None if self._publisher is None else self._publisher.document

    async def _table_id(self) -> str | None:
        """Ours; it is made where there is none yet."""
        try:
            return await asyncio.to_thread(self._db.table.keep_table_id)
        except (TaskError, OSError) as error:
            log.warning("[wfrecovery] this table has no name, so results are delivered as by older versions: %s", error)
            return None

    # ------------------------------------------------------------------ delivering

    async def publish(self) -> FlushReport:
        """Deliver what waits in the outbox and is ours to deliver; learn what became of the rest."""
        tasks = await asyncio.to_thread(self._unpushed)
        if not tasks:
            return FlushReport()
        plugin, table_id = await plugin_of(self._engine.plugin_status), await self._table_id()
        left = [task.task_id for task in tasks if await self._is_left(task, plugin, table_id)]
        self._left = frozenset(left)
        waiting = {task.task_id for task in tasks}
        self._missing = {task_id: since for task_id, since in self._missing.items() if task_id in waiting}
        if self._publisher is None:
            return FlushReport()
        return await asyncio.to_thread(self._publisher.flush, self._left)

    async def publish_in_company(self) -> None:
        """The same, but what has come in alone waits for the next result of its batch, where that is set: a program may
        look into the sheet as soon as its row has ended."""
        alone = 0.0
        if self._publisher is not None:
            alone = await asyncio.to_thread(self._publisher.waits_for_company, self._left, unless_set=0)
        if alone:
            self._later.start(alone)
        else:
            await self.publish()

    def _unpushed(self) -> list[TaskRecord]:
        if self._publisher is not None:
            try:
                self._publisher.which.learn()
            except (TaskError, OSError) as error:
                log.warning("[wfrecovery] %s", error)
        return self._db.unpushed()

    async def number(self) -> bool:
        """Write the numbers of the rows that were entered, unless the plugin does; whether to try that again."""
        if self._publisher is None or await self.plugin_publishes():
            return False
        return await asyncio.to_thread(self._publisher.number)

    async def publish_rest(self) -> None:
        """The last push of a run. That Feishu is busy or limits for a moment leaves nothing for the next run; nor does
        a ComfyUI that was to deliver, and does not come back."""
        await self.publish()
        if self._publisher is None:
            return
        if self._missing:
            wait = OUT_OF_REACH_SECONDS
            log.info("[wfrecovery] ComfyUI was to deliver %d results; waiting up to %g s", len(self._missing), wait)
        began = self._clock()
        end = began + LAST_PUSH_SECONDS
        while self._clock() < end and await asyncio.to_thread(self._is_worth_a_try):
            await asyncio.sleep(1.0)
            await self.publish()
            if self._missing:
                end = min(self._clock(), began + OUT_OF_REACH_SECONDS) + LAST_PUSH_SECONDS

    def _is_worth_a_try(self) -> bool:
        """Whether waiting may bring something into the sheet."""
        table_id = self._db.table.table_id
        ours = (task for task in self._db.unpushed() if may_deliver(task, table_id, self._document))
        return bool(self._missing) or any(task.task_id not in self._left for task in ours)

    async def plugin_publishes(self) -> bool:
        """Whether the plugin delivers what a run like this one submits."""
        plugin = await plugin_of(self._engine.plugin_status)
        return plugin is not None and plugin.can_deliver(self._document)

    async def is_in_good_hands(self, task: TaskRecord) -> bool:
        """Whether the plugin answers, and delivers it: until the end of the run nothing is to be done here."""
        plugin = await plugin_of(self._engine.plugin_status)
        return plugin is not None and plugin.can_deliver(task.document) and task.publisher in (None, plugin.table_id)

    async def goes_by_itself(self, task: TaskRecord) -> bool:
        """Whether the plugin delivers it without having been named."""
        plugin = await plugin_of(self._engine.plugin_status)
        return plugin is not None and plugin.configured and (task.publisher is None or not plugin.obeys)

    # ------------------------------------------------------------------ whose a task is

    async def _is_left(self, task: TaskRecord, plugin: Plugin | None, table_id: str | None) -> bool:
        """Whether another one delivers it; what that one has done with it is in our record then."""
        ours = task.publisher in (None, table_id)
        if plugin is not None and ours and await self._is_shared_with(plugin):
            return plugin.can_deliver(task.document)  # one table: its outbox is the plugin's
        try:
            if task.publisher is None or task.outbox.by == "plugin" or (plugin is not None and plugin.goes_by_itself):
                return await self._is_left_unnamed(task, plugin)
            if ours:
                if self._publisher is not None and not self._can_take(task):
                    await self._note(task, waiting_for_document)
                return await self._has_gone_over(task, plugin)
            return not await self._comes_to_us(task, plugin, table_id)
        except (EngineError, TaskError, OSError) as error:  # cannot be asked, or noted: rather later than twice
            log.warning("[wfrecovery] %s: who delivers it cannot be told now: %s", task.task_id, error)
            return True

    async def _is_shared_with(self, plugin: Plugin) -> bool:
        told = {"table_id": plugin.table_id, "owner": plugin.owner}
        return await asyncio.to_thread(self._db.is_shared_with, told)

    async def _is_left_unnamed(self, task: TaskRecord, plugin: Plugin | None) -> bool:
        """Of one that names nobody: what the plugin was to deliver when it was asked last, it still will."""
        if plugin is None:
            return task.outbox.by == "plugin"
        record = await record_of(self._engine, task.comfyui_task_id) if plugin.configured else None
        if record is None or leaves_it(record, plugin):
            return False
        await self._note(task, partial(_as_delivered, record, plugin.table_id))
        return True

    async def _has_gone_over(self, task: TaskRecord, plugin: Plugin | None) -> bool:
        """Of one that names our table: whether the plugin delivers it all the same, because a person has said so there,
        or because it was back before we could."""
        if plugin is None or plugin.table_id is None or task.task_id in self._agreed:
            return False
        record = await record_of(self._engine, task.comfyui_task_id)
        if record is None:
            return False
        if leaves_it(record, plugin):
            if task.twin is None:  # it did not answer when the task was submitted
                await self._note(task, partial(dataclasses.replace, twin=plugin.table_id))
            self._agreed.add(task.task_id)
            return False
        await self._note(task, partial(_as_delivered, record, plugin.table_id))
        return True

    async def _comes_to_us(self, task: TaskRecord, plugin: Plugin | None, table_id: str | None) -> bool:
        """Of one that names another table: whether we take it over, because that one declines it, or was out of reach
        for long."""
        if plugin is not None and plugin.table_id == task.publisher:
            record = await record_of(self._engine, task.comfyui_task_id)
            if record is not None and not leaves_it(record, plugin):
                self._missing.pop(task.task_id, None)
                await self._note(task, partial(_as_delivered, record, plugin.table_id))
                return False
            if record is not None:
                return await self._take(task, table_id, "ComfyUI does not deliver it")
            if plugin.behind:  # its record is yet to come
                self._missing.pop(task.task_id, None)
                return False
        if not self._can_take(task):
            return False
        since = self._missing.setdefault(task.task_id, self._clock())
        if self._clock() - since < OUT_OF_REACH_SECONDS:
            return False
        return await self._take(task, table_id, f"its publisher was out of reach for {OUT_OF_REACH_SECONDS:g} s")

    def _can_take(self, task: TaskRecord) -> bool:
        """Whether Feishu is set up here, for the row's document."""
        return self._publisher is not None and task.document in (None, self._document)

    async def _take(self, task: TaskRecord, table_id: str | None, why: str) -> bool:
        if table_id is None or not self._can_take(task):
            return False
        log.warning("[wfrecovery] %s (row %s) is delivered from here: %s", task.task_id, task.row_number, why)
        await self._note(task, partial(taken_from_other, table_id))
        self._missing.pop(task.task_id, None)
        return True

    async def _note(self, task: TaskRecord, change: Change) -> None:
        await asyncio.to_thread(self._db.table.update, task.task_id, change)


def name(table_id: str | None, document: str | None, plugin: Plugin | None) -> Naming:
    """Who delivers what is submitted now from a table whose `main.py` is set to `document`: the plugin, where it is set
    to the same one, or where nothing is set here; else this table. An older plugin cannot be named."""
    if table_id is None or (plugin is not None and plugin.goes_by_itself):
        return Naming(document=document)
    theirs = None if plugin is None else plugin.table_id
    twin = theirs if theirs != table_id else None
    if plugin is not None and plugin.configured and theirs is not None and document in (None, plugin.document):
        return Naming(theirs, plugin.document, twin)
    return Naming(None if document is None else table_id, document, twin)


def _as_delivered(theirs: Mapping[str, Any], table_id: str | None, task: TaskRecord) -> TaskRecord:
    """What became of the plugin's record of the same prompt is what became of ours; and both say who delivers."""
    delivery = delivery_in(theirs)
    if delivery is None:
        return task
    if task.publisher is not None:
        task = dataclasses.replace(task, publisher=publishing_in(theirs).get("publisher") or table_id)
    off = delivery.state is FeishuState.OFF and not delivery.declined
    nothing_more = off and (delivery.superseded_by is not None or task.status is WorkflowStatus.FAILED)
    if delivery.state not in (FeishuState.PUSHED, FeishuState.BLOCKED) and not nothing_more:
        return task
    taken_over = ("state", "last_error", "last_error_zh", "pushed_at", "sent")
    return task.with_outbox(**{name: getattr(delivery, name) for name in taken_over})
