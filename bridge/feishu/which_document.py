"""Which document the results of a table are delivered to, by whatever address or name it was known before."""

from __future__ import annotations

import logging
from typing import Final

from ..table.manager import DatabaseManager
from ..table.records import TaskError
from ..table.values import FeishuState
from .client import FeishuClient
from .errors import FeishuError

log = logging.getLogger("wfrecovery")

_OPEN: Final = (FeishuState.PENDING, FeishuState.BLOCKED)


class WhichDocument:
    """Keeps the records' documents in step with what Feishu says, for one publisher."""

    def __init__(self, db: DatabaseManager, feishu: FeishuClient) -> None:
        self._db, self._feishu = db, feishu
        #: the document by its spreadsheet, where records were brought up to that
        self._known_as: str | None = None
        self._asked = False

    def learn(self) -> None:
        """What is behind a wiki's address, and that a sheet has another name by now, stands in the records as well.
        Raises OSError, TaskError."""
        given, now = self._feishu.settings.document_as_given, self._feishu.settings.document
        if now is None:
            return
        if now not in (given, self._known_as):
            self._db.name_document(given, now)
            self._known_as = now
        self._rename(now)

    def note(self) -> None:
        """Note which sheet the document is, as far as it was read. Raises nothing: the next reading notes it."""
        document, sheet = self._feishu.settings.document, self._feishu.sheet_key
        try:
            if document is not None and sheet is not None:
                self._db.sheets.note(document, sheet)
        except (OSError, TaskError) as error:
            log.warning("[wfrecovery] which sheet results go to cannot be noted: %s", error)

    def _rename(self, now: str) -> None:
        known = self._db.sheets.read()
        if not known.keys() - {now}:
            return
        former = {
            entry.document
            for entry in self._db.index.entries()
            if entry.document in known and entry.document != now
            if not entry.stage.final or entry.feishu_state in _OPEN
        }
        if former and self._feishu.sheet_key is None and not self._asked:
            self._asked = True
            try:
                self._feishu.find_sheet()
            except FeishuError as error:
                log.warning("[wfrecovery] it cannot be told whether the sheet was renamed: %s", error)
        if self._feishu.sheet_key is not None:
            for document in former:
                if document is not None and known[document] == self._feishu.sheet_key:
                    log.info("[wfrecovery] the sheet has another name by now: its results are delivered to that")
                    self._db.name_document(document, now)
