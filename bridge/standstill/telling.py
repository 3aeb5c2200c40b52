"""Tells the group of each standstill once, whoever of the programs that share a table comes first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from ..feishu.errors import FeishuError, Remedy
from ..feishu.group_bot import send_text
from ..settings import Settings
from ..table.records import TaskError
from .watch import Standstill, StandstillWatch

log = logging.getLogger("wfrecovery")

#: Seconds until a bot is asked again that had too much to do, or could not be reached.
AGAIN_SECONDS: Final = 60.0
#: So often it is tried to note what is told, before it is told without a note: on a full disk batches stand, too.
_UNNOTED: Final = 6


class Telling:
    """For one thread at a time. Nobody's work fails, or waits, because of it: what cannot be told is logged."""

    def __init__(
        self,
        watch: StandstillWatch,
        settings: Callable[[], Settings],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch, self._settings, self._clock = watch, settings, clock
        self._not_before = float("-inf")
        #: what the bot refused for good, as far as this process is concerned
        self._refused: set[str] = set()
        #: how often what could not be noted, and whether it was told all the same
        self._unnoted: dict[str, int] = {}

    def forget(self) -> None:
        """What is over may be told again when it comes again."""
        try:
            over = self._watch.over(self._watch.note.read())
            if over:
                self._watch.note.forget(over)
        except (OSError, TaskError) as error:
            log.debug("[wfrecovery] the note of standstills cannot be written: %s", error)
        standing = {key for standstill in self._watch.standing for key in standstill.keys}
        self._refused &= standing
        self._unnoted = {key: tries for key, tries in self._unnoted.items() if key in standing}

    def tell(self) -> None:
        """Tell what stands, where a bot is set and nobody has told it."""
        if not self._settings().feishu_webhook_url or self._clock() < self._not_before:
            return
        told = self._watch.note.read()
        for standstill in self._watch.standing:
            if not (standstill.keys.keys() <= told.keys() or self._refused.issuperset(standstill.keys)):
                new = self._claimed(standstill)
                if new:
                    self._send(standstill, new)

    def _claimed(self, standstill: Standstill) -> frozenset[str]:
        """What of it this process is to tell."""
        try:
            new = self._watch.note.claim(standstill.keys)
        except (OSError, TaskError) as error:
            return self._without_note(standstill.keys, error)
        return frozenset(key for key in new if self._unnoted.get(key, 0) < _UNNOTED)

    def _without_note(self, keys: Iterable[str], error: Exception) -> frozenset[str]:
        told = self._watch.note.read()
        left = [key for key in keys if key not in told]
        for key in left:
            self._unnoted[key] = self._unnoted.get(key, 0) + 1
        new = frozenset(key for key in left if self._unnoted[key] == _UNNOTED)
        if new:
            log.warning("[wfrecovery] the group is told of a standstill that cannot be noted: %s", error)
        return new

    def _send(self, standstill: Standstill, new: frozenset[str]) -> None:
        settings = self._settings()
        try:
            send_text(settings, standstill.words.message(settings.language))
        except FeishuError as error:
            log.warning("[wfrecovery] the group was not told: %s", error)
            if error.outcome_unknown:  # it may have arrived: rather not than twice
                return
            if error.remedy is Remedy.RETRY:
                self._not_before = self._clock() + max(AGAIN_SECONDS, error.wait or 0.0)
            else:
                self._refused |= standstill.keys.keys()
            self._unclaim(new)
        else:
            log.info("[wfrecovery] the group was told: %s", standstill.words.what)

    def _unclaim(self, keys: frozenset[str]) -> None:
        for key in keys:
            self._unnoted.pop(key, None)
        try:
            self._watch.note.forget(keys)
        except (OSError, TaskError) as error:
            log.debug("[wfrecovery] the note of standstills cannot be written: %s", error)
