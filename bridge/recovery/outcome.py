"""Whether a run went well, as a program's exit code tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..table.record_json import parsed
from ..table.records import Stage, TaskRecord, id_sort_key
from ..table.row_identity import Verdict, compare, pictures_differ
from ..table.values import FeishuState


def exit_code(tasks: Iterable[Mapping[str, Any] | BaseException | None]) -> int:
    """0 only where all went well: each record that `finish` or a recovery returned is 已完成, or was cancelled because
    a person wished it, and nothing keeps its result from the sheet; what a former run lost before it was submitted
    counts where this run has rendered that row, wherever it stands by now. Else 1; also for an error in the place of a
    record (`asyncio.gather(..., return_exceptions=True)`), and for None.

        sys.exit(bridge.exit_code(recovered + finished))
    """
    told = list(tasks)
    records = [task for task in told if isinstance(task, Mapping)]
    return int(len(records) < len(told) or bool(failures(records)))


def failures(tasks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the records for which `exit_code` is 1, in their order."""
    told = [(task, parsed(task)) for task in tasks]
    finished = [record for _, record in told if record.stage is Stage.FINISHED]
    wrong = []
    for task, record in told:
        again = _rendered_again(record, finished) if _was_left_open(record) else None
        if again is not None:
            finished.remove(again)  # of rows that look the same each has a result of its own
        elif not _went_well(record):
            wrong.append(task)
    return wrong


def _went_well(record: TaskRecord) -> bool:
    if record.stage is Stage.CANCELLED:
        return True
    stuck = record.feishu_state is FeishuState.BLOCKED or record.outbox.last_error is not None
    return record.stage is Stage.FINISHED and not stuck


def _was_left_open(record: TaskRecord) -> bool:
    """Whether nothing was told of its failure, so that its row waits for the next batch."""
    return record.stage is Stage.FAILED and record.feishu_state is FeishuState.OFF


def _rendered_again(lost: TaskRecord, finished: Iterable[TaskRecord]) -> TaskRecord | None:
    """A later task of its row. The row's number tells nothing: rows move."""
    for record in finished:
        later = id_sort_key(record.task_id) > id_sort_key(lost.task_id)
        if later and record.workflow_type == lost.workflow_type and _one_row(record, lost):
            return record
    return None


def _one_row(one: TaskRecord, other: TaskRecord) -> bool:
    same = compare(one.identity, other.identity) is Verdict.SAME
    return same and not pictures_differ(one.identity, other.identity)
