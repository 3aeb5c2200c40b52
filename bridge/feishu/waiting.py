"""How long what failed waits before it is tried again."""

from __future__ import annotations

from typing import Final

from ..table.records import parse_time

#: Back-off: 2, 4, 8 … seconds, at most 5 minutes, each ±20 %.
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 2.0, 300.0, 0.2
#: A wait that the server asks for is kept to twice that.
LONGEST_SERVER_WAIT: Final = 2 * _LONGEST_WAIT


def backoff(attempts: int, server_wait: float | None, random_unit: float) -> float:
    """Seconds until the next try after `attempts` failed ones; the server's own wait, up to 10 minutes, wins where it
    is longer."""
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(attempts - 1, 20))
    return max(wait * (1 + _JITTER * (2 * random_unit - 1)), min(server_wait or 0.0, LONGEST_SERVER_WAIT))


def in_future(noted: str | None, now: float) -> bool:
    """Whether a noted time is still to come; a clock that was set back must not make an entry wait for ever."""
    return now < parse_time(noted) <= now + LONGEST_SERVER_WAIT
