"""Whether a run went well, as a program's exit code tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..table.record_json import parsed
from ..table.records import Stage, TaskRecord, id_sort_key, is_task_id
from ..table.row_identity import Verdict, compare, pictures_differ
from ..table.values import FeishuState


def exit_code(tasks: Iterable[Mapping[str, Any] | BaseException | None]) -> int:
    """0 only where all went well: each record that `finish` or a recovery returned is 已完成, or was cancelled because
    a person wished it, and nothing keeps its result from the sheet; what a former run lost before it was submitted
    counts where this run has rendered that row, wherever it stands by now. Else 1; also for an error in the place of a
    record (`asyncio.gather(..., return_exceptions=True)`), and for None. A record tells of the moment in which it was
    returned: where a push may have been put off then, read it again with `db.get_task`.

        sys.exit(bridge.exit_code(recovered + finished))
    """
    told = list(tasks)
    records = [task for task in told if isinstance(task, Mapping)]
    return int(len(records) < len(told) or bool(failures(records)))


def failures(tasks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the records for which `exit_code` is 1, in their order."""
    told = [(task, parsed(task)) for task in tasks]
    excused = _rendered_again(record for _, record in told)
    return [task for task, record in told if not _went_well(record) and record.task_id not in excused]


def _went_well(record: TaskRecord) -> bool:
    if record.stage is Stage.CANCELLED:
        return True
    stuck = record.feishu_state is FeishuState.BLOCKED or record.outbox.last_error is not None
    return record.stage is Stage.FINISHED and not stuck


def _was_left_open(record: TaskRecord) -> bool:
    """Whether nothing was told of its failure, so that its row waits for the next batch."""
    return record.stage is Stage.FAILED and record.feishu_state is FeishuState.OFF


def _rendered_again(records: Iterable[TaskRecord]) -> set[str]:
    """The tasks that were lost before they were submitted, and whose row has a later result: each one of its own, for
    rows may look the same. A row is told by what it says, for rows move, or by its number, for a person may edit it."""
    in_order = sorted({record.task_id: record for record in records}.values(), key=lambda one: id_sort_key(one.task_id))
    finished = [record for record in in_order if record.stage is Stage.FINISHED]
    excused = set()
    for lost in filter(_was_left_open, in_order):
        later = [record for record in finished if not _was_before(record, lost)]
        again = next(
            (record for same in (_says_the_same, _has_the_number) for record in later if same(record, lost)), None
        )
        if again is not None:
            finished.remove(again)
            excused.add(lost.task_id)
    return excused


def _was_before(one: TaskRecord, other: TaskRecord) -> bool:
    both = is_task_id(one.task_id) and is_task_id(other.task_id)
    return both and id_sort_key(one.task_id) < id_sort_key(other.task_id)


def _says_the_same(one: TaskRecord, other: TaskRecord) -> bool:
    same = one.workflow_type == other.workflow_type and compare(one.identity, other.identity) is Verdict.SAME
    return same and not pictures_differ(one.identity, other.identity)


def _has_the_number(one: TaskRecord, other: TaskRecord) -> bool:
    def row(record: TaskRecord) -> tuple[Any, ...]:
        return record.row_number, record.product_name, record.model_name, record.workflow_type

    return row(one) == row(other)
