"""The whole status, as `/wfrecovery/status` and the page's events show it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from ...bridge.feishu.publisher import Publisher
from ...bridge.table.lives import Life
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import Stage, parse_time
from ...bridge.table.values import FeishuState
from ...bridge.version import VERSION
from ..host import Host
from ..queue.writing import Writer
from ..recovery.startup import StartupRecovery
from .settings import PageSettings


class Status:
    """Asks everybody how things stand. `boot_id` tells one start of ComfyUI from the next."""

    def __init__(
        self,
        *,
        host: Host,
        db: DatabaseManager,
        writer: Writer,
        recovery: StartupRecovery,
        publisher: Publisher,
        page_settings: PageSettings,
        boot_id: str,
        started: str,
    ) -> None:
        self._host, self._db, self._writer, self._recovery = host, db, writer, recovery
        self._publisher, self._page_settings = publisher, page_settings
        self.boot_id, self._started = boot_id, parse_time(started)

    def now(self) -> dict[str, Any]:
        """As JSON. Reads the table's folders: not on the event loop."""
        statuses, outbox = self._db.counts()
        unfinished: Counter[str] = Counter()
        asking = 0
        for (stage, _), number in self._db.index.counts().items():
            asking += number if stage is Stage.ASKING else 0
            if not stage.final:
                unfinished[stage.value] += number
        return {
            "version": VERSION,
            "boot_id": self.boot_id,
            "table_id": self._db.table.table_id,
            "owner": self._db.owners.me.boot,
            "owners": self._owners(),
            "comfyui": {"version": self._host.version, "worker_alive": self._host.worker_alive},
            "tasks": statuses,
            "stages": dict(unfinished),
            "attention": asking + outbox[FeishuState.BLOCKED.value] + self._failed_since_start(),
            "corrupt": len(self._db.table.corrupt()),
            "recovery": asdict(self._recovery.state),
            "feishu": {
                "configured": self._page_settings.current.feishu_configured,
                "pending": outbox[FeishuState.PENDING.value],
                "pushed": outbox[FeishuState.PUSHED.value],
                "blocked": outbox[FeishuState.BLOCKED.value],
                "last_error": self._publisher.last_error or self._page_settings.why_not_publishing,
            },
            "last_error": self._writer.last_error,
            "unwritten": {"changes": self._writer.waiting, "error": self._writer.behind},
            "settings_error": self._page_settings.error,
        }

    def _owners(self) -> list[dict[str, Any]]:
        """Who is at work in this table, and on how many tasks; of the dead those that somebody may still wait for."""
        tasks = Counter(entry.owner.boot for entry in self._db.index.entries() if entry.owner is not None)
        known = {told.boot: (told, life) for told, life in self._db.owners.known()}
        return [
            {"boot": boot, "kind": told.kind, "name": told.name, "life": life.value, "tasks": tasks[boot]}
            for boot, (told, life) in known.items()
            if tasks[boot] or life is not Life.DEAD
        ]

    def _failed_since_start(self) -> int:
        """Without those that are counted as blocked."""
        failed = (entry for entry in self._db.index.entries() if entry.stage is Stage.FAILED)
        return sum(
            parse_time(entry.finished_at) >= self._started and entry.feishu_state is not FeishuState.BLOCKED
            for entry in failed
        )
