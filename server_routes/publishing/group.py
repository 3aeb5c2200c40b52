"""The plugin's word to the team's group: one message when a batch or recovery is over."""

from __future__ import annotations

import logging
import threading
from typing import Final

from ...bridge.feishu.client import FeishuClient
from ...bridge.feishu.group_summary import BatchWatch
from ...bridge.standstill.note import Note
from ...bridge.standstill.summary import tell_summary
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import TaskRecord

log = logging.getLogger("wfrecovery")

#: Seconds after which open tasks are looked at again: another process may have settled them.
LOOK_SECONDS: Final = 30.0


class GroupReporter:
    """Hears of each change; a daemon thread of its own tells the group, so that nothing waits for Feishu."""

    def __init__(self, db: DatabaseManager, feishu: FeishuClient, watch: BatchWatch | None = None) -> None:
        self._db, self._feishu, self._watch = db, feishu, watch or BatchWatch()
        self._note, self._news = Note(db.table), threading.Event()
        self._thread = threading.Thread(target=self._run, name="wfrecovery-group", daemon=True)

    def start(self) -> None:
        """Begin, where a bot is set."""
        if self._feishu.settings.feishu_webhook_url:
            self._thread.start()

    def changed(self, task: TaskRecord) -> None:
        """A record was written. What another table delivers is that one's to tell."""
        others = task.publisher is not None and task.publisher != self._db.table.table_id
        if self._feishu.settings.feishu_webhook_url and not others:
            self._watch.saw(task)
            self._news.set()

    def _run(self) -> None:
        while True:
            left = self._watch.seconds_left()
            told = self._news.wait(LOOK_SECONDS if left is None else left)
            self._news.clear()
            try:
                if not told:
                    self._watch.look_at(self._db.table)
                summary = self._watch.over()
                if summary is not None:
                    tell_summary(self._feishu, summary, self._note)
            except Exception:
                log.exception("[wfrecovery] the group was not told")
