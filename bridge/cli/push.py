"""`wfrecovery push`: what the sheet did not take goes out again, once somebody has mended the sheet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from ..engines.comfyui import ComfyUIClient
from ..engines.in_use import EngineInUse
from ..feishu.client import FeishuClient
from ..feishu.publisher import Publisher
from ..recovery.delivering import RunDelivery
from ..table.manager import DatabaseManager
from ..table.publishers import OTHER_DOCUMENT, main_delivers, may_deliver
from ..table.record_json import delivery_in, publishing_in
from ..table.records import TaskRecord
from ..table.values import FeishuState
from ..wording import Wording
from .context import ATTENTION, WELL, CommandError, Context
from .tasks import listed

_COMFYUI_DELIVERS: Final = Wording("ComfyUI delivers it", "由 ComfyUI 写入")
_HERE: Final = Wording(
    ": push it there; where that one is gone: wfrecovery push --local TASK",
    "：请在那里推送；如果它已经不在了：wfrecovery push --local 任务号",
)


async def run(context: Context) -> int:
    """Try blocked results again, after the sheet was mended: in ComfyUI, and in main.py's table. A task that is named
    is pushed where its publisher is; where that is gone, the table in which it was named delivers it from now on."""
    wanted, local = list(context.arguments.task_ids), context.only_here
    result: dict[str, Any] = {"comfyui": [], "refused": {}, "main": None, "elsewhere": {}}
    problem = None
    status = None
    here: list[str] = wanted if local else []
    if context.comfy is None:
        context.table()
    else:
        try:
            status = await context.plugin("GET", "/wfrecovery/status")
            if local:
                there, here = await _named_there(context, context.comfy, status, wanted, result)
            else:
                there, here = await _named_here(context, wanted, result)
            bulk = [] if wanted else await _blocked_there(context, result)
            await _push_there(context, [*there, *bulk], result)
        except CommandError as error:
            problem = error if not (wanted and local) else None
    shared = context.db is not None and context.db.is_shared_with(status)
    if context.db is not None and (here or not (wanted or shared)):
        result["main"] = await _push_here(context, context.db, here)
    elif problem is not None:
        raise problem
    context.show(result, _push_lines(context, result, problem))
    main = result["main"] or {"blocked": {}, "waiting": {}}
    return ATTENTION if problem or result["refused"] or main["blocked"] or main["waiting"] else WELL


async def _push_there(context: Context, task_ids: Sequence[str], result: dict[str, Any]) -> None:
    with context.progress(Wording("pushing again", "重新写入")) as bar:
        for number, task_id in enumerate(task_ids, 1):
            try:
                await context.plugin("POST", f"/wfrecovery/tasks/{quote(task_id, safe='')}/push")
                result["comfyui"].append(task_id)
            except CommandError as error:
                if error.kind in ("unreachable", "no_plugin"):
                    raise
                result["refused"][task_id] = str(error)
            bar.show(number, len(task_ids))


async def _blocked_there(context: Context, result: dict[str, Any]) -> list[str]:
    """What a person has to put right in the sheet first is pushed by its name alone."""
    task_ids = []
    for task in await listed(context, {"feishu": FeishuState.BLOCKED.value}):
        delivery = delivery_in(task)
        if delivery is not None and delivery.spoiled and delivery.reason:
            result["refused"][task["task_id"]] = context.say(delivery.reason)
        else:
            task_ids.append(task["task_id"])
    return task_ids


async def _named_here(context: Context, wanted: Sequence[str], result: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Of ComfyUI's tasks those to be pushed there, and those of main.py's table that deliver the others."""
    there, here = [], []
    for task_id in wanted:
        with contextlib.suppress(CommandError):  # what there is no task of is refused where it is pushed
            record = await context.plugin("GET", f"/wfrecovery/tasks/{quote(task_id, safe='')}")
            ours = _local_task(context.db, record)
            if ours is not None:
                here.append(ours)
                result["elsewhere"][task_id] = context.say(main_delivers(publishing_in(record)["publisher"]))
                continue
        there.append(task_id)
    return there, here


def _local_task(db: DatabaseManager | None, record: Mapping[str, Any]) -> str | None:
    """Our task of ComfyUI's record, where it names our table."""
    prompt_id, publisher = record.get("comfyui_task_id"), publishing_in(record).get("publisher")
    if db is None or publisher is None or publisher != db.table.table_id or not prompt_id:
        return None
    entry = db.index.find_by_prompt(prompt_id)
    return None if entry is None else entry.task_id


async def _named_there(
    context: Context, comfy: ComfyUIClient, status: Mapping[str, Any], wanted: Sequence[str], result: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Of main.py's tasks those that ComfyUI, which answers, delivers, as it calls them; and the others."""
    there: list[str] = []
    here: list[str] = []
    for task_id in wanted:
        task = context.db.table.get(task_id) if context.db is not None else None
        theirs = None
        if task is not None and task.publisher is not None and task.publisher == status.get("table_id"):
            theirs = await comfy.plugin_task(task.comfyui_task_id or "")
        if theirs is None or context.db is None or context.db.is_shared_with(status):
            here.append(task_id)
        else:
            there.append(str(theirs["task_id"]))
            result["elsewhere"][task_id] = context.say(_COMFYUI_DELIVERS)
    return there, here


async def _push_here(context: Context, db: DatabaseManager, task_ids: Sequence[str]) -> dict[str, Any]:
    """Deliver what main.py's table holds, and is to deliver."""
    document, table_id = context.settings.document, db.table.table_id
    if document is None:
        names = ", ".join(context.settings.missing)
        raise CommandError(
            "not_configured",
            Wording(f"Feishu is not set up here: {names} missing", f"这里还没有设置飞书：缺少 {names}"),
        )
    with context.progress(Wording("main.py's results", "main.py 的结果")) as bar:
        done: set[str] = set()

        def changed(record: TaskRecord) -> None:
            done.add(record.task_id)
            bar.show(len(done), max(total, len(done)))

        total = 0
        publisher = Publisher(db, FeishuClient(context.settings), on_change=changed)
        if task_ids:
            for task_id in task_ids:
                await asyncio.to_thread(db.deliver_here, task_id, document)
        else:
            await asyncio.to_thread(publisher.unblock)
        total = len(await asyncio.to_thread(db.unpushed))
        report = await RunDelivery(db, EngineInUse.of(context.engine), publisher).publish()
        rest = [task for task in await asyncio.to_thread(db.unpushed) if not may_deliver(task, table_id, document)]
        spoiled = {} if task_ids else await asyncio.to_thread(_spoiled_here, context, db)
    ours = {task.task_id for task in rest if task.publisher in (None, table_id)}
    waiting = report.waiting | dict.fromkeys(ours, context.say(OTHER_DOCUMENT))
    left = {task.task_id: context.say(_COMFYUI_DELIVERS + _HERE) for task in rest if task.task_id not in ours}
    return {"pushed": report.pushed, "blocked": spoiled | report.blocked, "waiting": waiting, "left": left}


def _spoiled_here(context: Context, db: DatabaseManager) -> dict[str, str]:
    """What a person has to put right in the sheet first, and then pushes by its name."""
    blocked = (task for task in db.table.active() if task.feishu_state is FeishuState.BLOCKED)
    return {
        task.task_id: context.say(task.outbox.reason) for task in blocked if task.outbox.spoiled and task.outbox.reason
    }


def _push_lines(context: Context, result: Mapping[str, Any], problem: CommandError | None) -> list[str]:
    lines = []
    if problem is not None:
        lines.append(context.say(problem.wording))
    elif context.comfy is not None:
        ids = ", ".join(result["comfyui"])
        lines.append(
            context.say(
                Wording(
                    f"handed to ComfyUI's publisher again: {ids or 'nothing was blocked'}",
                    f"已重新交给 ComfyUI 写入：{ids or '没有受阻的任务'}",
                )
            )
        )
    for kind in ("refused", "elsewhere"):
        lines += [f"{task_id}: {reason}" for task_id, reason in result[kind].items()]
    if result["main"] is not None:
        ids = ", ".join(result["main"]["pushed"])
        lines.append(
            context.say(
                Wording(f"pushed from main.py's table: {ids or 'nothing'}", f"main.py 的任务表已写入：{ids or '无'}")
            )
        )
        for kind in ("blocked", "waiting", "left"):
            lines += [f"{task_id}: {reason}" for task_id, reason in result["main"][kind].items()]
    return lines
