"""The whole status, as `/wfrecovery/status` and the page's events show it."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from ...bridge.feishu.publisher import Publisher
from ...bridge.redact import redact
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.owner_list import owners_of
from ...bridge.table.records import Stage, parse_time
from ...bridge.table.values import FeishuState
from ...bridge.version import VERSION
from ...bridge.wording import Wording, wording_of
from ..host import Host
from ..queue.writing import Writer
from ..recovery.startup import StartupRecovery
from .settings import PageSettings

#: What the system says when it refuses to write, and what that means.
_REFUSALS: Final = {
    errno.ENOSPC: Wording("the disk is full", "磁盘已满"),
    errno.EDQUOT: Wording("the disk quota is used up", "磁盘配额已用完"),
    errno.EROFS: Wording("the disk can only be read", "磁盘是只读的"),
    errno.EACCES: Wording("ComfyUI has no permission there", "ComfyUI 没有权限"),
    errno.EPERM: Wording("ComfyUI has no permission there", "ComfyUI 没有权限"),
    errno.EIO: Wording("the disk reports an error", "磁盘报告错误"),
}
#: As Python words what the system says: kind and number, what that means, and the file.
_SYSTEM_ERROR: Final = re.compile(r"\[(Errno|WinError) (\d+)\] (.*?)(: ['\"].*)?$", re.DOTALL)
_HELD: Final = re.compile(r"has been held for [\d.]+ s")


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
        standstill: Callable[[], dict[str, Any] | None],
        boot_id: str,
        started: str,
    ) -> None:
        self._host, self._db, self._writer, self._recovery = host, db, writer, recovery
        self._publisher, self._page_settings, self._standstill = publisher, page_settings, standstill
        self.boot_id, self._started = boot_id, parse_time(started)
        self._last: dict[str, Any] | None = None

    def now(self) -> dict[str, Any]:
        """As JSON. Reads the table's folders: not on the event loop. While they cannot be read, it is what was read
        last, and why; raises OSError where there is nothing."""
        try:
            self._last = self._asked()
        except OSError as error:
            if self._last is None:
                raise
            return {**self._last, "unwritten": self._unwritten(error)}
        return self._last

    def _asked(self) -> dict[str, Any]:
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
            "owners": [owner.to_json() for owner in owners_of(self._db.index, self._db.owners)],
            "comfyui": {"version": self._host.version, "worker_alive": self._host.worker_alive},
            "tasks": statuses,
            "stages": dict(unfinished),
            "attention": asking + outbox[FeishuState.BLOCKED.value] + self._failed_since_start(),
            "corrupt": len(self._db.table.corrupt()),
            "recovery": asdict(self._recovery.state),
            "feishu": {
                "configured": self._page_settings.current.feishu_configured,
                "document": self._page_settings.current.document,
                "pending": outbox[FeishuState.PENDING.value],
                "pushed": outbox[FeishuState.PUSHED.value],
                "blocked": outbox[FeishuState.BLOCKED.value],
                "last_error": self._publisher.last_error or self._page_settings.why_not_publishing,
            },
            "standstill": self._standstill(),
            "tells_group": self._page_settings.current.tells_group,
            "last_error": self._writer.last_error,
            "unwritten": self._unwritten(),
            "settings_error": self._page_settings.error,
        }

    def _unwritten(self, unread: OSError | None = None) -> dict[str, Any]:
        """Changes that are not on disk yet; a reason only where the disk does not take them, or cannot be read."""
        behind = self._writer.behind or (redact(str(unread)) if unread is not None else None)
        reason = None if behind is None else why_not_written(behind)
        return {
            "changes": self._writer.waiting,
            "error": None if reason is None else reason.en,
            "error_zh": None if reason is None else reason.zh,
        }

    def _failed_since_start(self) -> int:
        """Without those that are counted as blocked."""
        failed = (entry for entry in self._db.index.entries() if entry.stage is Stage.FAILED)
        return sum(
            parse_time(entry.finished_at) >= self._started and entry.feishu_state is not FeishuState.BLOCKED
            for entry in failed
        )


def why_not_written(error: str) -> Wording:
    """The system's refusal in plain words, or its own without the file; what else there is stays as it is."""
    if system := _SYSTEM_ERROR.match(error):
        known = _REFUSALS.get(int(system[2])) if system[1] == "Errno" else None
        return known or wording_of(system[3])
    if _HELD.search(error):
        return Wording("another program holds the task table", "另一个程序占用着任务表")
    return wording_of(error)
