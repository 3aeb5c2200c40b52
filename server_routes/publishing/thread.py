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
#: After a wake-up, rows that are entered or finished are collected until so long none has come, but not for ever: one
#: read of the sheet serves them all, and one call numbers them.
GATHER_SECONDS: Final = 0.3
_MOST_GATHERED: Final = 10
#: So long a lone result waits for the next one of its batch, where the settings do not say.
COMPANY_SECONDS: Final = 120


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
        """Something has come into the outbox, or a row was entered."""
        self._wake.set()

    def _run(self) -> None:
        try:
            self._publisher.unblock()
        except Exception:
            log.exception("[wfrecovery] the outbox could not be looked through")
        pause, patience = threading.Event(), 0.0
        while True:
            self._wake.wait(patience)
            self._gather(pause)
            try:
                patience = self._publish()
            except Exception:
                log.exception("[wfrecovery] pushing failed; the results wait in the outbox")
                pause.wait(RETRY_SECONDS)

    def _publish(self) -> float:
        """One look at the outbox; seconds until the next one."""
        again = self._publisher.number()
        alone = self._publisher.waits_for_company(unless_set=COMPANY_SECONDS)
        if not alone:
            report = self._publisher.flush()
            again = again or report.busy or bool(report.waiting or self._publisher.last_error)
            if report.pushed:
                log.info("[wfrecovery] pushed to Feishu: %s", ", ".join(report.pushed))
        return min(alone or IDLE_SECONDS, RETRY_SECONDS if again else IDLE_SECONDS)

    def _gather(self, pause: threading.Event) -> None:
        for _ in range(_MOST_GATHERED):
            if not self._wake.is_set():
                return
            self._wake.clear()
            pause.wait(GATHER_SECONDS)
        self._wake.clear()
