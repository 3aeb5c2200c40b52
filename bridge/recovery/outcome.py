"""Whether a run went well, as a program's exit code tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..table.record_json import parsed
from ..table.records import Stage
from ..table.values import FeishuState


def exit_code(tasks: Iterable[Mapping[str, Any] | BaseException | None]) -> int:
    """0 only where all went well: each record that `finish` or a recovery returned is 已完成, or was cancelled because
    a person wished it, and nothing keeps its result from the sheet. Else 1; also for an error in the place of a record
    (`asyncio.gather(..., return_exceptions=True)`), and for None.

        sys.exit(bridge.exit_code(recovered + finished))
    """
    return int(not all(_went_well(task) for task in tasks))


def _went_well(task: Mapping[str, Any] | BaseException | None) -> bool:
    if not isinstance(task, Mapping):
        return False
    record = parsed(task)
    if record.stage is Stage.CANCELLED:
        return True
    stuck = record.feishu_state is FeishuState.BLOCKED or record.outbox.last_error is not None
    return record.stage is Stage.FINISHED and not stuck
