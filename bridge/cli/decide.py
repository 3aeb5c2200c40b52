"""`wfrecovery decide`: what becomes of a result that cannot be delivered by itself."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import quote

from ..feishu.client import FeishuClient
from ..feishu.deciding import give_file, leave, write_anyway
from ..feishu.errors import FeishuError
from ..feishu.publisher import Publisher
from ..table.changes import CANCELLED, cancelled, has_arrived, sent_once_more
from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.record_json import delivery_in, record_to_json
from ..table.records import Stage, TaskError, TaskRecord
from ..table.values import FeishuState
from ..wording import Wording
from .context import ATTENTION, WELL, CommandError, Context
from .engines import asks

#: What may be decided, and the plugin's word for it.
DECISIONS: Final = {"write": "write", "file": "adopt", "again": "retry", "leave": "leave", "arrived": ""}
_DONE: Final = {
    "write": Wording("it goes into the row", "会写入该行"),
    "file": Wording("the file is its result now", "该文件现在是它的结果"),
    "again": Wording("it is rendered again, by the workflow that it was sent with", "会用提交时的工作流重新生成"),
    "leave": Wording("it is not delivered", "不再写入"),
    "arrived": Wording(
        "the next run of main.py, or wfrecovery recover, fetches it", "下次运行 main.py 或 wfrecovery recover 时取回"
    ),
}
_NEXT_RUN: Final = Wording(
    "the next run of main.py, or wfrecovery recover, sends it again: it may be paid for twice",
    "下次运行 main.py 或 wfrecovery recover 时重新发送：可能会计费两次",
)
_NEXT_BATCH: Final = Wording(
    "its result is set aside: the next batch renders the row, if its cell says 否",
    "结果已搁置：如果单元格是 否，下一批会重新生成该行",
)


async def run(context: Context) -> int:
    """Write it into a row all the same, take a file for its result, render it again, or leave it: in ComfyUI's table,
    or in main.py's with `--local`, or where a cloud renders."""
    task_id, decision = context.arguments.task_id, context.arguments.decision
    row, file = context.arguments.row, context.arguments.file
    if row is not None and decision != "write":
        raise CommandError("arguments", Wording("--row goes with write", "--row 只能和 write 一起用"))
    if (file is not None) != (decision == "file"):
        raise CommandError("arguments", Wording("file and --file PATH go together", "file 和 --file 路径 要一起用"))
    if (context.arguments.id is not None) != (decision == "arrived"):
        raise CommandError("arguments", Wording("arrived and --id ID go together", "arrived 和 --id ID 要一起用"))
    if context.only_here or decision == "arrived":
        record, said = await asyncio.to_thread(_decide_here, context, task_id, decision)
    else:
        named = {"row_number": row, "path": file}
        body = {name: value for name, value in named.items() if value is not None}
        path = f"/wfrecovery/tasks/{quote(task_id, safe='')}/{DECISIONS[decision]}"
        try:
            record, said = await context.plugin("POST", path, body), _DONE[decision]
        except CommandError as error:
            raise _or_here(context, task_id, error) from error
    context.show(record, [f"{task_id}: {context.say(said)}"])
    delivery = delivery_in(record)
    return ATTENTION if delivery is not None and delivery.state is FeishuState.BLOCKED else WELL


def _or_here(context: Context, task_id: str, error: CommandError) -> CommandError:
    """`error`, of ComfyUI, with where else the task may be meant."""
    try:
        asked = context.db is not None and asks(context.db.table.get(task_id))
    except TaskError:
        asked = False
    hint = Wording(
        ". In main.py's table it waits for this: add --local", "。main.py 的任务表里有它在等决定：请加 --local"
    )
    return CommandError(error.kind, error.wording + hint) if asked else error


def _decide_here(context: Context, task_id: str, decision: str) -> tuple[dict[str, Any], Wording]:
    db = context.table()
    if decision == "arrived" or (decision in ("again", "leave") and _asks(db, task_id)):
        return _decided_about_cloud(db, task_id, decision, context.arguments.id)
    if decision in ("again", "leave"):
        return record_to_json(leave(db, task_id)), _DONE["leave"] if decision == "leave" else _NEXT_BATCH
    try:
        record = _delivered_here(context, db, task_id, decision)
    except FeishuError as error:
        raise CommandError("feishu", error.wording) from error
    reason = record.outbox.reason
    return record_to_json(record), reason if reason is not None else _DONE[decision]


def _no_id(other: TaskEntry | None) -> Wording:
    """Two rows must not get one picture."""
    if other is None:
        return Wording("--id is the task's id in the cloud", "--id 是云端的任务 ID")
    return Wording(
        f"that is the id of {other.task_id} (row {other.row_number}) → look at the service's list again",
        f"这是 {other.task_id}（第 {other.row_number} 行）的任务 ID → 请再核对云端的任务列表",
    )


def _asks(db: DatabaseManager, task_id: str) -> bool:
    return db.table.get(task_id).stage is Stage.ASKING


def _decided_about_cloud(
    db: DatabaseManager, task_id: str, decision: str, job_id: str | None
) -> tuple[dict[str, Any], Wording]:
    """Of what was sent to an engine that makes its own ids, and of which nobody knows whether it was rendered."""
    if decision == "arrived":
        named = (job_id or "").strip()
        other = db.index.find_by_prompt(named)
        if not named or (other is not None and other.task_id != task_id):
            raise CommandError("arguments", _no_id(other))
        record = db.table.update(task_id, lambda task: has_arrived(task, named))
        return record_to_json(record), _DONE["arrived"]
    if decision == "again":
        return record_to_json(db.table.update(task_id, sent_once_more)), _NEXT_RUN
    return record_to_json(db.table.update(task_id, lambda task: cancelled(task, CANCELLED))), _NEXT_BATCH


def _delivered_here(context: Context, db: DatabaseManager, task_id: str, decision: str) -> TaskRecord:
    feishu, document = FeishuClient(context.settings), context.settings.document
    if decision == "file":
        give_file(db, task_id, context.arguments.file, document)
    else:
        write_anyway(db, feishu, task_id, context.arguments.row)
        if document is not None:
            db.deliver_here(task_id, document)
    if document is not None:
        Publisher(db, feishu).flush()
    return db.table.get(task_id)
