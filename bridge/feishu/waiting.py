"""What failed: why, whether a person is needed, and how long it waits before it is tried again."""

from __future__ import annotations

from typing import Final

from ..redact import redact
from ..table.locks import NoLocksError
from ..table.records import TaskError, parse_time
from ..wording import Wording, wording_of
from .errors import FeishuError

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


def needs_person(error: Exception) -> bool:
    return error.needs_person if isinstance(error, FeishuError) else not isinstance(error, TaskError)


def leave_alone(error: Exception) -> bool:
    return isinstance(error, FeishuError) and (error.leave_alone or error.concerns_all)


def reason_of(error: Exception) -> Wording:
    """In both languages where it has them; what nobody expected is named with its kind."""
    wording = getattr(error, "wording", None)
    return wording if isinstance(wording, Wording) else wording_of(redact(f"{type(error).__name__}: {error}"))


def table_trouble(error: Exception) -> Wording:
    if isinstance(error, NoLocksError):
        return error.wording
    return Wording(
        f"the task table cannot be read or written: {error} → see that the disk is not full and that the output "
        "folder can be written; the results wait",
        f"任务表无法读写：{error} → 请检查磁盘是否已满、输出文件夹能否写入；结果会保留等待",
    )
