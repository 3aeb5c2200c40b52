"""`wfrecovery status`: ComfyUI's tasks and main.py's in numbers; a ComfyUI that is off hides nothing of main.py's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..standstill.watch import Engine, StandstillWatch
from ..table.records import WorkflowStatus
from ..terminal import table
from ..wording import Wording
from .context import ATTENTION, NOT_DONE, WELL, CommandError, Context
from .engines import Rest, rest_of
from .owners import owner_lines, owners_here, owners_there
from .tasks import task_lines

#: Tasks that ask a person, with the commands for each decision.
_ASKING_SHOWN: Final = 5


async def run(context: Context) -> int:
    """Counts, the last recovery, and what waits for Feishu."""
    data: dict[str, Any] = {"comfyui": None, "main": None}
    lines: list[str] = []
    problem = None
    if context.comfy is None:
        context.table()
    else:
        try:
            data["comfyui"] = await context.plugin("GET", "/wfrecovery/status")
        except CommandError as error:
            problem, data["problem"] = error, str(error)
            lines.append(context.say(error.wording))
        else:
            url = context.comfy.base_url
            lines += status_lines(context, Wording(f"ComfyUI at {url}", f"ComfyUI（{url}）"), data["comfyui"])
    data["main"] = _local_status(context, answers=problem is None or problem.kind != "unreachable")
    if context.db is not None and context.db.is_shared_with(data["comfyui"]):
        lines.append(context.say(Wording("main.py's table is the same", "main.py 用的是同一个任务表")))
    elif data["main"] is not None:
        title = Wording(f"main.py's table in {context.output_dir}", f"main.py 的任务表（{context.output_dir}）")
        lines += status_lines(context, title, data["main"])
    if context.db is not None:
        lines += _rest_lines(context, rest_of(context, context.db))
    context.show(data, lines)
    if problem:
        return NOT_DONE
    return ATTENTION if any(map(_needs_attention, filter(None, (data["comfyui"], data["main"])))) else WELL


def _local_status(context: Context, *, answers: bool) -> dict[str, Any] | None:
    if context.db is None:
        return None
    watch = StandstillWatch(context.db, lambda: context.settings)
    # looked at once, only what was told before can stand; whether a cloud answers, nobody has asked
    watch.look(None if context.comfy is None else Engine.of(context.comfy, answers=answers))
    statuses, outbox = context.db.counts()
    feishu = {
        "configured": context.settings.feishu_configured,
        **{name: outbox[name] for name in ("pending", "pushed", "blocked")},
    }
    return {
        "table_id": context.db.table.table_id,
        "owners": [owner.to_json() for owner in owners_here(context.db)],
        "tasks": statuses,
        "corrupt": len(context.db.table.corrupt()),
        "feishu": feishu,
        "standstill": watch.shown(),
        **rest_of(context, context.db).to_json(),
    }


def _rest_lines(context: Context, rest: Rest) -> list[str]:
    """Who renders main.py's tasks, where that is not the asked ComfyUI, and what asks a person."""
    lines = [context.say(line) for line in (*rest.engine_lines(context), *rest.others_lines(context))]
    shown, more = rest.asking[:_ASKING_SHOWN], len(rest.asking) - _ASKING_SHOWN
    lines += task_lines(context, shown) if shown else []
    if more > 0:
        command = "wfrecovery tasks --local --stage asking"
        lines.append(context.say(Wording(f"… and {more} more: {command}", f"……还有 {more} 个：{command}")))
    return lines


def _needs_attention(data: Mapping[str, Any]) -> bool:
    failed = data["tasks"][WorkflowStatus.FAILED.value]
    asking = (data.get("recovery") or {}).get("asking") or data.get("asking") or data.get("left_to_others")
    wrong = data.get("last_error") or data.get("settings_error") or _unwritten(data)
    stands = data.get("standstill")
    return bool(failed or asking or stands or data["corrupt"] or data["feishu"]["blocked"] or wrong)


def status_lines(context: Context, title: Wording, data: Mapping[str, Any]) -> list[str]:
    """One table's counts for a person; ComfyUI's come with its recovery and its troubles."""
    feishu = data["feishu"]
    counts = "  ".join(f"{name} {number}" for name, number in data["tasks"].items())
    if data["corrupt"]:
        counts += context.say(Wording(f"  damaged {data['corrupt']}", f"  损坏 {data['corrupt']}"))
    rows = [(Wording("tasks", "任务"), counts)]
    if "recovery" in data:
        rows.append((Wording("recovery", "恢复"), context.say(_recovery(data["recovery"]))))
    pushed, pending, blocked = (feishu[name] for name in ("pushed", "pending", "blocked"))
    outbox = Wording(
        f"in the sheet {pushed}, waiting {pending}, blocked {blocked}",
        f"已写入 {pushed}，待写入 {pending}，受阻 {blocked}",
    )
    rows.append((Wording("Feishu", "飞书"), context.say(outbox)))
    for reason in dict.fromkeys(
        (context.last_error(feishu), data.get("settings_error") or "", data.get("last_error") or "")
    ):
        if reason:
            rows.append((Wording("", ""), reason))
    stands = data.get("standstill")
    if stands:
        rows.append((Wording("at a stand", "停滞"), context.say(Wording(stands["text"], stands["text_zh"]))))
    unwritten = _unwritten(data)
    if unwritten:
        rows.append((Wording("disk", "磁盘"), context.say(unwritten)))
    label = Wording("owners", "所有者")
    for line in owner_lines(context, owners_there(data), in_comfyui="recovery" in data):
        rows.append((label, line))
        label = Wording("", "")
    # No titles above: two columns of their own.
    pairs = [(f"  {context.say(name)}", text) for name, text in rows]
    return [context.say(title), *table(pairs[0], pairs[1:], widest=10_000)]


def _unwritten(data: Mapping[str, Any]) -> Wording | None:
    """What waits for a disk that takes nothing at the moment."""
    told = data.get("unwritten") or {}
    changes, english = told.get("changes"), told.get("error")
    if not changes or not english:
        return None
    chinese = told.get("error_zh") or english
    count = "1 change is" if changes == 1 else f"{changes} changes are"
    return Wording(
        f"{count} not on disk yet ({english}); kept, and written as soon as the disk takes it",
        f"{changes} 处更改尚未写入磁盘（{chinese}）；已保留，磁盘可写后会立即写入",
    )


def _recovery(run: Mapping[str, Any]) -> Wording:
    return Wording(
        f"{run['state']}: {run['done']} of {run['total']} decided, {run['recovered']} found complete, "
        f"{run['requeued']} queued again, {run['failed']} failed, {run['asking']} wait for your decision",
        f"{'进行中' if run['state'] == 'running' else '空闲'}：{run['total']} 个中已处理 {run['done']} 个，"
        f"{run['recovered']} 个结果已找到，{run['requeued']} 个重新排队，{run['failed']} 个失败，"
        f"{run['asking']} 个等你决定",
    )
