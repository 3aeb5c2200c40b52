"""Whether a run went well, as a program's exit code tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..table.record_json import parsed
from ..table.records import Stage, TaskRecord
from ..table.values import FeishuState


def exit_code(tasks: Iterable[Mapping[str, Any] | BaseException | None]) -> int:
    """0 only where all went well: each record that `finish` or a recovery returned is 已完成, or was cancelled because
    a person wished it, and nothing keeps its result from the sheet; what a former run lost before it was submitted
    counts where this run has rendered that row. Else 1; also for an error in the place of a record
    (`asyncio.gather(..., return_exceptions=True)`), and for None.

        sys.exit(bridge.exit_code(recovered + finished))
    """
    told = list(tasks)
    records = [parsed(task) for task in told if isinstance(task, Mapping)]
    rendered = {_row_of(record) for record in records if record.stage is Stage.FINISHED}
    well = [_went_well(record) or (_was_left_open(record) and _row_of(record) in rendered) for record in records]
    return int(not (all(well) and len(records) == len(told)))


def _went_well(record: TaskRecord) -> bool:
    if record.stage is Stage.CANCELLED:
        return True
    stuck = record.feishu_state is FeishuState.BLOCKED or record.outbox.last_error is not None
    return record.stage is Stage.FINISHED and not stuck


def _was_left_open(record: TaskRecord) -> bool:
    """Whether nothing was told of its failure, so that its row waits for the next batch."""
    return record.stage is Stage.FAILED and record.feishu_state is FeishuState.OFF


def _row_of(record: TaskRecord) -> tuple[Any, ...]:
    return record.row_number, record.product_name, record.model_name, record.workflow_type
