"""The plugin's watch over a batch that stands still: what the status shows of it, and its word to the group."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ...bridge.settings import Settings
from ...bridge.standstill.telling import Telling
from ...bridge.standstill.watch import LOOK_SECONDS, StandstillWatch
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import TaskError

log = logging.getLogger("wfrecovery")


class StandstillThread:
    """Looks every few seconds. A daemon of its own: neither ComfyUI nor the publisher waits for it."""

    def __init__(self, db: DatabaseManager, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._watch = StandstillWatch(db, settings)
        self._telling = Telling(self._watch, settings)
        self._thread = threading.Thread(target=self._run, name="wfrecovery-standstill", daemon=True)

    def start(self) -> None:
        """Begin, when what a crash has left is decided."""
        self._thread.start()

    def progressed(self) -> None:
        """What renders has come on."""
        self._watch.progressed()

    def now(self) -> dict[str, Any] | None:
        """The worst of what stands, as the status shows it."""
        return self._watch.shown()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_SECONDS):
            try:
                self._watch.look()
                self._telling.forget()
                if self._settings().tells_group:
                    self._telling.tell()
            except (TaskError, OSError) as error:
                log.debug("[wfrecovery] the table could not be looked at: %s", error)
            except Exception:
                log.exception("[wfrecovery] it could not be told whether the batch stands still")
