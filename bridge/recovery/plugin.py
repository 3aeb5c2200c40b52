"""What `main.py` goes by of what the plugin in ComfyUI says of itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engines.errors import EngineError
from ..engines.in_use import EngineInUse
from ..table.record_json import delivery_in, publishing_in
from ..table.values import FeishuState

log = logging.getLogger("wfrecovery")


@dataclass(frozen=True)
class Plugin:
    """The plugin of a ComfyUI that answers; without one, as if one had nothing set up."""

    table_id: str | None = None
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


async def plugin_of(engine: EngineInUse) -> Plugin | None:
    """None where ComfyUI does not answer."""
    try:
        status = await engine.plugin_status()
    except EngineError:
        return None
    return Plugin.of(status or {})


async def record_of(engine: EngineInUse, prompt_id: str | None) -> Mapping[str, Any] | None:
    """The plugin's record of a prompt that is for a row; None where it has none. Raises EngineError."""
    record = await engine.plugin_task(prompt_id) if prompt_id else None
    return None if record is None or record.get("row_number") is None else record


def leaves_it(record: Mapping[str, Any], plugin: Plugin) -> bool:
    """Whether the plugin does not deliver what it has this record of: another table is named there, or it is not set up
    for the row's document (any more)."""
    said, delivery = publishing_in(record), delivery_in(record)
    if delivery is not None and (delivery.state is FeishuState.PUSHED or delivery.superseded_by is not None):
        return False
    named = said.get("publisher") in (None, plugin.table_id)
    return not named or (delivery is not None and delivery.declined) or not plugin.can_deliver(said.get("document"))
