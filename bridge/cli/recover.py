"""`wfrecovery recover`: ComfyUI's tasks by the plugin, main.py's here, unless both are in one table."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, Final

from ..engines.address import is_comfyui
from ..feishu.client import FeishuClient
from ..recovery.manager import TaskRecoveryManager
from ..table.lives import Life
from ..table.manager import DatabaseManager
from ..table.owner_list import KnownOwner, meant
from ..table.records import TaskError, WorkflowStatus
from ..wording import Wording, wording_of
from . import dry_run
from .context import ATTENTION, NOT_DONE, WELL, CommandError, Context
from .engines import Rest, moved_here, rest_of
from .owners import left_alone, left_alone_line, owners_here, owners_there, take_over_command
from .status import status_lines
from .tasks import task_lines

#: Seconds between two looks at a recovery that goes on in ComfyUI.
_LOOK_SECONDS: Final = 0.2


async def run(context: Context) -> int:
    """Recover in ComfyUI, then in main.py's table, and wait for the end; first take over where that is asked for. Where
    a cloud renders, main.py's table is all there is."""
    if context.arguments.dry_run:
        return await dry_run.run(context)
    wanted = context.arguments.take_over
    moved = None
    if wanted is not None and is_comfyui(wanted):
        moved, wanted = await asyncio.to_thread(moved_here, context, context.table(), wanted), None
    status: Mapping[str, Any] | None = None
    lines: list[str] = []
    down = False
    if context.comfy is None:
        context.table()
    else:
        try:
            status = await context.plugin("GET", "/wfrecovery/status")
        except CommandError as error:
            # Taking over in main.py's table needs no ComfyUI; recovering does.
            if context.db is None or (error.kind != "no_plugin" and (error.kind != "unreachable" or wanted is None)):
                raise _with_others(context, error) from error
            down = error.kind == "unreachable"
            lines.append(context.say(error.wording))
    here = None if context.db is None or context.db.is_shared_with(status) else context.db
    owner = None if wanted is None else await asyncio.to_thread(_named, wanted, status, here)
    taken = 0
    others: list[KnownOwner] = []
    if status is not None:
        there = owner is not None and any(owner.boot == known.boot for known in owners_there(status))
        body = {"take_over": owner.boot} if owner is not None and there else {}
        answer = await context.plugin("POST", "/wfrecovery/recover", body)
        taken += int(answer.get("taken_over") or 0)
        status = await _wait_for_recovery(context)
        others += left_alone(owners_there(status))
        lines += status_lines(context, wording_of("ComfyUI"), status)
    recovered: list[dict[str, Any]] = []
    if here is not None:
        if owner is not None and any(owner.boot == known.boot for known in await asyncio.to_thread(owners_here, here)):
            taken += await asyncio.to_thread(here.take_over, owner.boot)
        recovered = await _recover_here(context, here)
        others += left_alone(await asyncio.to_thread(owners_here, here))
    rest = Rest() if context.db is None else await asyncio.to_thread(rest_of, context, context.db)
    shown = recovered + rest.asking
    lines += task_lines(context, shown) if shown else []
    lines += map(context.say, (*rest.others_lines(context), *rest.undecided_lines(context)))
    if owner is not None:
        lines.insert(0, context.say(_taken(owner, taken)))
    if moved is not None:
        taken += moved
        lines.insert(0, context.say(_moved(context.arguments.take_over, moved)))
    lines += [context.say(left_alone_line(other)) for other in others]
    data = {
        "comfyui": None if status is None else status["recovery"],
        "main": recovered,
        "taken_over": None if owner is None and moved is None else taken,
        "left_alone": [other.to_json() for other in others],
        **rest.to_json(),
    }
    context.show(data, lines)
    if rest.undecided:
        return NOT_DONE
    return ATTENTION if down or rest.asking or rest.others or _needs_attention(status, recovered, others) else WELL


def _with_others(context: Context, error: CommandError) -> CommandError:
    """`error`, of a ComfyUI that cannot be asked, with what it would not render anyway."""
    if context.db is None:
        return error
    wording = error.wording
    for line in rest_of(context, context.db).others_lines(context):
        wording = wording + ". " + line
    return CommandError(error.kind, wording)


def _needs_attention(
    status: Mapping[str, Any] | None, recovered: list[dict[str, Any]], others: list[KnownOwner]
) -> bool:
    """What a living one is at work on is in good hands."""
    failed = any(task["status"] == WorkflowStatus.FAILED.value for task in recovered)
    state = {} if status is None else status["recovery"]
    unsure = any(other.life is Life.DOUBT for other in others)
    return bool(failed or unsure or state.get("failed") or state.get("asking"))


def _named(text: str, status: Mapping[str, Any] | None, here: DatabaseManager | None) -> KnownOwner:
    """The one owner of both tables whom a person means; raises CommandError before anything is done."""
    there = [] if status is None else owners_there(status)
    known = {owner.boot: owner for owner in (*there, *([] if here is None else owners_here(here)))}
    try:
        return known[meant(text, known, {owner.boot for owner in there if owner.life is Life.OURS})]
    except TaskError as error:
        raise CommandError("owner", error.wording) from error


def _moved(former: str, number: int) -> Wording:
    tasks = "1 task" if number == 1 else f"{number} tasks"
    return Wording(f"{tasks} of {former} taken over", f"已接管 {former} 的 {number} 个任务")


def _taken(owner: KnownOwner, number: int) -> Wording:
    said = Wording(
        f"{'1 task' if number == 1 else f'{number} tasks'} taken over from {owner.name.en}",
        f"已从 {owner.name.zh} 接管 {number} 个任务",
    )
    if owner.life is not Life.ALIVE or not number:
        return said
    return said + Wording(
        ", which still runs: what it renders just now may be rendered twice",
        "；它还在运行：它正在渲染的可能会渲染两次",
    )


async def _wait_for_recovery(context: Context) -> Mapping[str, Any]:
    """Until ComfyUI has decided for every task; its status then."""
    with context.progress(Wording("recovering", "正在恢复")) as bar:
        while True:
            data: dict[str, Any] = await context.plugin("GET", "/wfrecovery/status")
            bar.show(data["recovery"]["done"], data["recovery"]["total"])
            if data["recovery"]["state"] == "idle":
                return data
            await asyncio.sleep(_LOOK_SECONDS)


async def _recover_here(context: Context, db: DatabaseManager) -> list[dict[str, Any]]:
    unsure = [owner for owner in await asyncio.to_thread(owners_here, db) if owner.tasks and owner.life is Life.DOUBT]
    for owner in unsure:  # it is looked at for so long before anything of it is touched
        print(context.say(_looking(owner)), file=sys.stderr)
    with context.progress(Wording("main.py's tasks", "main.py 的任务")) as bar:
        manager = TaskRecoveryManager(db, context.engine, FeishuClient(context.settings), on_progress=bar.show)
        return await manager.check_and_recover_tasks() + await manager.wait_until_done()


def _looking(owner: KnownOwner) -> Wording:
    return Wording(
        f"looking for up to 90 s whether {owner.name.en} still runs; to take over at once: ",
        f"最多用 90 秒确认 {owner.name.zh} 是否还在运行；要立即接管：",
    ) + take_over_command(owner)
