"""What `main.py` goes by of what the plugin in ComfyUI says of itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..engines.errors import EngineError
from ..engines.history import UNKNOWN, Place, Sighting
from ..engines.in_use import EngineInUse
from ..table.manager import DatabaseManager
from ..table.record_json import delivery_in, parsed, publishing_in
from ..table.records import RecordError, Stage, TaskRecord
from ..table.values import FeishuState, Owner

log = logging.getLogger("wfrecovery")


@dataclass(frozen=True)
class Plugin:
    """The plugin of a ComfyUI that answers; without one, as if one had nothing set up."""

    table_id: str | None = None
    #: its token as an owner; an older one tells none
    owner: str | None = None
    #: whether it has Feishu settings, and for which document
    configured: bool = False
    document: str | None = None
    #: it does as it is named; an older version delivers whatever it has a record of
    obeys: bool = False
    #: its records are behind what has happened: what they do not say may be yet to come
    behind: bool = False

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Plugin:
        """By its status."""
        feishu, unwritten = status.get("feishu") or {}, status.get("unwritten") or {}
        return cls(
            table_id=status.get("table_id"),
            owner=status.get("owner"),
            configured=bool(feishu.get("configured")),
            document=feishu.get("document"),
            obeys="document" in feishu,
            behind=bool(unwritten.get("changes")),
        )

    @property
    def goes_by_itself(self) -> bool:
        """Whether it asks nobody whether it is to deliver."""
        return self.configured and not self.obeys

    def can_deliver(self, document: str | None) -> bool:
        """Whether it is set up for a row of that document."""
        return self.configured and (not self.obeys or document in (None, self.document))


async def plugin_of(ask: Callable[[], Awaitable[Mapping[str, Any] | None]]) -> Plugin | None:
    """By what an engine's `plugin_status`, or `plugin_lately`, says; None where ComfyUI does not answer."""
    try:
        status = await ask()
    except EngineError:
        return None
    return Plugin.of(status or {})


async def shares_table(engine: EngineInUse, db: DatabaseManager) -> bool | None:
    """Whether the plugin in ComfyUI works in this table; it then recovers by itself what it has accepted. None where
    ComfyUI does not answer. Who is seen to be dead may have answered before that: who answers after it, too, works in a
    copy of the folder."""
    try:
        status = await engine.plugin_lately()
        while not await asyncio.to_thread(db.is_shared_with, status):
            before, status = status, await engine.plugin_status()
            if Plugin.of(status or {}).owner == Plugin.of(before or {}).owner:
                return False
    except EngineError:
        return None
    return True


async def record_of(engine: EngineInUse, prompt_id: str | None) -> Mapping[str, Any] | None:
    """The plugin's record of a prompt that is for a row; None where it has none. Raises EngineError."""
    record = await engine.plugin_task(prompt_id) if prompt_id else None
    return None if record is None or record.get("row_number") is None else record


async def seen_with_plugin(
    engine: EngineInUse, task: TaskRecord, seen: Sighting, is_me: Callable[[Owner | None], bool]
) -> Sighting:
    """`seen`; or, where ComfyUI has lost the prompt but the plugin's table says that somebody else is at work on it,
    another ComfyUI or who has taken it over, that it waits."""
    if seen.place is not Place.ABSENT:
        return seen
    try:
        if await engine.plugin_lately() is None:
            return seen
        told = await record_of(engine, task.comfyui_task_id)
        record = None if told is None else parsed(told)
    except (EngineError, RecordError):
        return UNKNOWN
    unfinished = record is not None and record.stage in (Stage.QUEUED, Stage.RUNNING)
    elsewhere = unfinished and record is not None and record.owner is not None and not is_me(record.owner)
    return Sighting(Place.WAITING) if elsewhere else seen


async def is_nowhere(engine: EngineInUse, task: TaskRecord, is_me: Callable[[Owner | None], bool]) -> bool:
    """Whether a prompt, if it has one, stands in no queue and no history, and nobody else is at work on it now; without
    the plugin nobody else can be. False where that cannot be told."""
    try:
        if not task.comfyui_task_id or await engine.plugin_lately() is None:
            return True
    except EngineError:
        return False
    seen = await engine.look_up(task.comfyui_task_id)
    return (await seen_with_plugin(engine, task, seen, is_me)).place is Place.ABSENT


def leaves_it(record: Mapping[str, Any], plugin: Plugin) -> bool:
    """Whether the plugin does not deliver what it has this record of: another table is named there, or it is not set up
    for the row's document (any more)."""
    said, delivery = publishing_in(record), delivery_in(record)
    if delivery is not None and (delivery.state is FeishuState.PUSHED or delivery.superseded_by is not None):
        return False
    named = said.get("publisher") in (None, plugin.table_id)
    return not named or (delivery is not None and delivery.declined) or not plugin.can_deliver(said.get("document"))
