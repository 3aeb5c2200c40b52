"""The plugin's publisher: a thread that delivers what is in the outbox, and waits otherwise."""

from __future__ import annotations

import logging
import threading
from typing import Final

from ...bridge.feishu.publisher import Publisher

log = logging.getLogger("wfrecovery")

#: Seconds between two looks when nothing wakes it: while something waits for its next try, and otherwise.
RETRY_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 30.0
#: After a wake-up, finished rows are collected for so long: one read of the sheet serves them all.
GATHER_SECONDS: Final = 0.3


class PublishingThread:
    """Flushes when woken. A daemon: ComfyUI may end at any moment, and the outbox is on disk."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wfrecovery-publisher", daemon=True)

    def start(self) -> None:
        """Begin; what was blocked gets another try."""
        self._thread.start()

    def wake(self) -> None:
        """Something has come into the outbox."""
        self._wake.set()

    def _run(self) -> None:
        try:
            self._publisher.unblock()
        except Exception:
            log.exception("[wfrecovery] the outbox could not be looked through")
        pause, patience = threading.Event(), 0.0
        while True:
            self._wake.wait(patience)
            if self._wake.is_set():
                pause.wait(GATHER_SECONDS)
            self._wake.clear()
            try:
                report = self._publisher.flush()
                patience = (
                    RETRY_SECONDS if report.waiting or report.busy or self._publisher.last_error else IDLE_SECONDS
                )
                if report.pushed:
                    log.info("[wfrecovery] pushed to Feishu: %s", ", ".join(report.pushed))
            except Exception:
                log.exception("[wfrecovery] pushing failed; the results wait in the outbox")
                pause.wait(RETRY_SECONDS)
