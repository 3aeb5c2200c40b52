"""`wfrecovery`: status, tasks, recover, push, doctor, demo."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from ..doctor import report as doctor_module
from ..engines.comfyui import ComfyUIClient, ComfyUIError
from ..feishu.client import FeishuClient
from ..feishu.publisher import Publisher
from ..recovery.manager import TaskRecoveryManager
from ..settings import Settings, SettingsError, load_settings
from ..table.files import FOLDER_NAME
from ..table.manager import DatabaseManager
from ..table.records import FeishuState, Stage, TaskError, TaskRecord, WorkflowStatus, WorkflowType
from ..wording import Wording, wording_of
from .terminal import LANGUAGES, ProgressBar, language_of, table

#: Exit codes.
WELL: Final = 0
ATTENTION: Final = 1
NOT_DONE: Final = 2
_INTERRUPTED: Final = 130
#: What one page of the plugin's list holds at most.
_PAGE: Final = 200
#: Seconds between two looks at a recovery that goes on in ComfyUI.
_LOOK_SECONDS: Final = 0.2

_STAGES: Final = {
    Stage.CREATED.value: Wording("entered", "已登记"),
    Stage.QUEUED.value: Wording("queued", "排队中"),
    Stage.RUNNING.value: Wording("rendering", "渲染中"),
    Stage.ASKING.value: Wording("asks you", "等你决定"),
    Stage.FINISHED.value: Wording("finished", "完成"),
    Stage.FAILED.value: Wording("failed", "失败"),
    Stage.CANCELLED.value: Wording("cancelled", "已取消"),
}
_FEISHU: Final = {
    FeishuState.PENDING.value: Wording("waits", "待写入"),
    FeishuState.PUSHED.value: Wording("in the sheet", "已写入"),
    FeishuState.BLOCKED.value: Wording("blocked", "受阻"),
    FeishuState.OFF.value: Wording("–", "–"),
}


class CommandError(Exception):
    """The command cannot be carried out; the text says what to do, `kind` is for scripts."""

    def __init__(self, kind: str, wording: Wording | str) -> None:
        self.kind, self.wording = kind, wording_of(wording)
        super().__init__(self.wording.en)


class Context:
    """What every command needs: settings, ComfyUI, and main.py's table where there is one."""

    def __init__(self, arguments: argparse.Namespace, language: str) -> None:
        self.arguments, self.language = arguments, language
        self.settings = _settings(arguments)
        self.comfy = ComfyUIClient(self.settings.comfyui_url)
        self.output_dir = Path(self.settings.output_dir or "output")
        self.db = DatabaseManager(self.output_dir) if (self.output_dir / FOLDER_NAME).is_dir() else None

    def say(self, wording: Wording) -> str:
        """In the reader's language."""
        return wording.text(self.language)

    def show(self, data: Any, lines: Sequence[str]) -> None:
        """Print for a script or for a person."""
        print(json.dumps(data, ensure_ascii=False, indent=1) if self.arguments.json else "\n".join(lines))

    @contextlib.contextmanager
    def progress(self, what: Wording) -> Iterator[ProgressBar]:
        """A progress bar for as long as something goes on."""
        bar = ProgressBar(self.say(what))
        try:
            yield bar
        finally:
            bar.end()

    async def plugin(self, method: str, path: str) -> Any:
        """The plugin's answer; raises CommandError that says what is wrong."""
        try:
            status, answer = await self.comfy.ask_plugin(method, path)
        except ComfyUIError as error:
            raise CommandError(
                "unreachable",
                Wording(
                    f"{error}. Start ComfyUI, or set COMFYUI_URL to where it runs (wfrecovery doctor finds out more)",
                    f"ComfyUI 没有响应（{self.comfy.base_url}）。请启动 ComfyUI，或把 COMFYUI_URL 设为它的地址"
                    "（wfrecovery doctor 可以查明原因）",
                ),
            ) from error
        refusal = answer.get("error") if isinstance(answer, Mapping) else None
        if status == 404 and not refusal:
            raise CommandError(
                "no_plugin",
                Wording(
                    f"ComfyUI at {self.comfy.base_url} runs without the plugin: put wfrecovery into custom_nodes",
                    f"{self.comfy.base_url} 上的 ComfyUI 没有加载插件：请把 wfrecovery 放进 custom_nodes",
                ),
            )
        if status >= 400:
            said = refusal.get("message") if isinstance(refusal, Mapping) else None
            kind = str(refusal.get("type")) if isinstance(refusal, Mapping) else "refused"
            raise CommandError(kind, str(said or f"the plugin answered HTTP {status} to {method} {path}"))
        return answer


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.config and not Path(arguments.config).is_file():
        raise CommandError("settings", Wording(f"there is no file {arguments.config}", f"没有文件 {arguments.config}"))
    try:
        return load_settings(arguments.config)
    except SettingsError as error:
        raise CommandError("settings", str(error)) from error


# ---------------------------------------------------------------------- status


async def status(context: Context) -> int:
    """Counts, the last recovery, and what waits for Feishu."""
    data: dict[str, Any] = {"comfyui": None, "main": _local_status(context)}
    lines: list[str] = []
    problem = None
    try:
        data["comfyui"] = await context.plugin("GET", "/wfrecovery/status")
    except CommandError as error:
        problem, data["problem"] = error, str(error)
        lines.append(context.say(error.wording))
    else:
        url = context.comfy.base_url
        lines += _status_lines(context, Wording(f"ComfyUI at {url}", f"ComfyUI（{url}）"), data["comfyui"])
    if data["main"] is not None:
        title = Wording(f"main.py's table in {context.output_dir}", f"main.py 的任务表（{context.output_dir}）")
        lines += _status_lines(context, title, data["main"])
    context.show(data, lines)
    if problem:
        return NOT_DONE
    return ATTENTION if any(map(_needs_attention, filter(None, (data["comfyui"], data["main"])))) else WELL


def _local_status(context: Context) -> dict[str, Any] | None:
    if context.db is None:
        return None
    statuses, outbox = context.db.counts()
    feishu = {
        "configured": context.settings.feishu_configured,
        **{name: outbox[name] for name in ("pending", "pushed", "blocked")},
    }
    return {"tasks": statuses, "corrupt": len(context.db.table.corrupt()), "feishu": feishu}


def _needs_attention(data: Mapping[str, Any]) -> bool:
    failed = data["tasks"][WorkflowStatus.FAILED.value]
    asking = (data.get("recovery") or {}).get("asking")
    wrong = data.get("last_error") or data.get("settings_error")
    return bool(failed or asking or data["corrupt"] or data["feishu"]["blocked"] or wrong)


def _status_lines(context: Context, title: Wording, data: Mapping[str, Any]) -> list[str]:
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
        (_last_error(context, feishu), data.get("settings_error") or "", data.get("last_error") or "")
    ):
        if reason:
            rows.append((Wording("", ""), reason))
    # No titles above: two columns of their own.
    pairs = [(f"  {context.say(name)}", text) for name, text in rows]
    return [context.say(title), *table(pairs[0], pairs[1:], widest=10_000)]


def _last_error(context: Context, feishu: Mapping[str, Any]) -> str:
    chinese = feishu.get("last_error_zh") if context.language == "zh" else None
    return str(chinese or feishu.get("last_error") or "")


def _recovery(run: Mapping[str, Any]) -> Wording:
    return Wording(
        f"{run['state']}: {run['done']} of {run['total']} decided, {run['recovered']} found complete, "
        f"{run['requeued']} queued again, {run['failed']} failed, {run['asking']} wait for your decision",
        f"{'进行中' if run['state'] == 'running' else '空闲'}：{run['total']} 个中已处理 {run['done']} 个，"
        f"{run['recovered']} 个结果已找到，{run['requeued']} 个重新排队，{run['failed']} 个失败，"
        f"{run['asking']} 个等你决定",
    )


# ---------------------------------------------------------------------- tasks


async def tasks(context: Context) -> int:
    """A list of tasks, newest first; from ComfyUI, or from main.py's table with --local."""
    found = _local_tasks(context) if context.arguments.local else await _plugin_tasks(context)
    context.show(found, _task_lines(context, found))
    return WELL


async def _plugin_tasks(context: Context) -> list[dict[str, Any]]:
    arguments = context.arguments
    names = ("status", "workflow_type", "stage", "feishu")
    wanted = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    if arguments.search:
        wanted["q"] = arguments.search
    return await _listed(context, wanted, arguments.limit)


async def _listed(context: Context, wanted: Mapping[str, str], limit: int | None = None) -> list[dict[str, Any]]:
    """ComfyUI's tasks that answer to a filter, newest first, page by page; at most `limit`."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        size = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = await context.plugin("GET", f"/wfrecovery/tasks?{urlencode({**wanted, **cursor, 'limit': size})}")
        found += page["tasks"]
        if not page["next_cursor"] or len(found) == limit:
            return found
        cursor = {"cursor": page["next_cursor"]}


def _local_tasks(context: Context) -> list[dict[str, Any]]:
    if context.db is None:
        raise CommandError(
            "no_table",
            Wording(
                f"there is no task table in {context.output_dir}: set WFRECOVERY_OUTPUT to main.py's output folder",
                f"{context.output_dir} 里没有任务表：请把 WFRECOVERY_OUTPUT 设为 main.py 的输出文件夹",
            ),
        )
    found: list[dict[str, Any]] = []
    for task_id in context.db.table.ids():
        task = context.db.get_task(task_id)
        if task is not None and _is_wanted(task, context.arguments):
            found.append(task)
        if len(found) == context.arguments.limit:
            break
    return found


def _is_wanted(task: Mapping[str, Any], arguments: argparse.Namespace) -> bool:
    text = f"{task['task_id']} {task['product_name']} {task['model_name']} {task['row_number']}"
    return (
        arguments.status in (None, task["status"])
        and arguments.workflow_type in (None, task["workflow_type"])
        and arguments.stage in (None, task["metadata"].get("stage"))
        and arguments.feishu in (None, task["metadata"].get("feishu", {}).get("state"))
        and (arguments.search or "").lower() in text.lower()
    )


_TASK_TITLES: Final = (
    Wording("TASK", "任务"),
    Wording("STATUS", "状态"),
    Wording("STAGE", "阶段"),
    Wording("FEISHU", "飞书"),
    Wording("ROW", "行"),
    Wording("PRODUCT", "产品"),
    Wording("MODEL", "模特"),
)


def _task_lines(context: Context, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table; below a task, why it failed or is blocked."""
    if not found:
        return [context.say(Wording("no tasks", "没有任务"))]
    lines = table([context.say(title) for title in _TASK_TITLES], [_task_cells(context, task) for task in found])
    told = [lines[0]]
    for task, line in zip(found, lines[1:], strict=True):
        told.append(line)
        reason = task["error_message"] or _last_error(context, task["metadata"].get("feishu", {}))
        if reason:
            told.append(f"    {reason}")
    return told


def _task_cells(context: Context, task: Mapping[str, Any]) -> list[str]:
    stage = str(task["metadata"].get("stage") or "")
    feishu = str(task["metadata"].get("feishu", {}).get("state") or "")
    return [
        task["task_id"],
        task["status"],
        context.say(_STAGES.get(stage, wording_of(stage))),
        context.say(_FEISHU.get(feishu, wording_of(feishu))),
        "–" if task["row_number"] is None else str(task["row_number"]),
        task["product_name"] or "–",
        task["model_name"] or "–",
    ]


# ---------------------------------------------------------------------- recover


async def recover(context: Context) -> int:
    """Recover in ComfyUI, then in main.py's table, and wait for the end."""
    state: Mapping[str, Any] | None = None
    boot_id = None
    lines: list[str] = []
    try:
        await context.plugin("POST", "/wfrecovery/recover")
        data = await _wait_for_recovery(context)
    except CommandError as error:
        if error.kind != "no_plugin" or context.db is None:
            raise
        lines.append(context.say(error.wording))
    else:
        state, boot_id = data["recovery"], data["boot_id"]
        lines += _status_lines(context, wording_of("ComfyUI"), data)
    recovered = []
    if context.db is not None and (boot_id is None or context.db.table.host() != boot_id):
        recovered = await _recover_here(context, context.db)
        lines += _task_lines(context, recovered) if recovered else []
    context.show({"comfyui": state, "main": recovered}, lines)
    failed = any(task["status"] == WorkflowStatus.FAILED.value for task in recovered)
    return ATTENTION if failed or (state and (state["failed"] or state["asking"])) else WELL


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
    with context.progress(Wording("main.py's tasks", "main.py 的任务")) as bar:
        manager = TaskRecoveryManager(db, context.comfy, FeishuClient(context.settings), on_progress=bar.show)
        return await manager.check_and_recover_tasks() + await manager.wait_until_done()


# ---------------------------------------------------------------------- push


async def push(context: Context) -> int:
    """Try blocked results again, after the sheet was mended: in ComfyUI, and in main.py's table."""
    wanted = context.arguments.task_ids
    result: dict[str, Any] = {"comfyui": [], "refused": {}, "main": None}
    problem = None
    boot_id = None
    if not (wanted and context.arguments.local):
        try:
            boot_id = (await context.plugin("GET", "/wfrecovery/status"))["boot_id"]
            await _push_there(context, wanted or await _blocked_there(context), result)
        except CommandError as error:
            problem = error
    here = context.db is not None and (boot_id is None or context.db.table.host() != boot_id)
    if context.db is not None and here and (not wanted or context.arguments.local):
        result["main"] = await asyncio.to_thread(_push_here, context, context.db, wanted)
    elif problem is not None:
        raise problem
    context.show(result, _push_lines(context, result, problem))
    main = result["main"] or {"blocked": {}, "waiting": {}}
    return ATTENTION if problem or result["refused"] or main["blocked"] or main["waiting"] else WELL


async def _push_there(context: Context, task_ids: Sequence[str], result: dict[str, Any]) -> None:
    with context.progress(Wording("pushing again", "重新写入")) as bar:
        for number, task_id in enumerate(task_ids, 1):
            try:
                await context.plugin("POST", f"/wfrecovery/tasks/{task_id}/push")
                result["comfyui"].append(task_id)
            except CommandError as error:
                if error.kind in ("unreachable", "no_plugin"):
                    raise
                result["refused"][task_id] = str(error)
            bar.show(number, len(task_ids))


async def _blocked_there(context: Context) -> list[str]:
    return [task["task_id"] for task in await _listed(context, {"feishu": FeishuState.BLOCKED.value})]


def _push_here(context: Context, db: DatabaseManager, task_ids: Sequence[str]) -> dict[str, Any]:
    """Deliver what main.py's table holds."""
    if not context.settings.feishu_configured:
        names = ", ".join(context.settings.missing)
        raise CommandError(
            "not_configured",
            Wording(f"Feishu is not set up here: {names} missing", f"这里还没有设置飞书：缺少 {names}"),
        )
    with context.progress(Wording("main.py's results", "main.py 的结果")) as bar:
        done: set[str] = set()

        def changed(record: TaskRecord) -> None:
            done.add(record.task_id)
            bar.show(len(done), total)

        publisher = Publisher(db, FeishuClient(context.settings), on_change=changed)
        total = 0  # what is put back first does not count
        if task_ids:
            for task_id in task_ids:
                db.put_back(task_id)
        else:
            publisher.unblock()
        done.clear()
        total = len(db.unpushed())
        report = publisher.flush()
    return {"pushed": report.pushed, "blocked": report.blocked, "waiting": report.waiting}


def _push_lines(context: Context, result: Mapping[str, Any], problem: CommandError | None) -> list[str]:
    lines = []
    if problem is not None:
        lines.append(context.say(problem.wording))
    else:
        ids = ", ".join(result["comfyui"])
        lines.append(
            context.say(
                Wording(
                    f"handed to ComfyUI's publisher again: {ids or 'nothing was blocked'}",
                    f"已重新交给 ComfyUI 写入：{ids or '没有受阻的任务'}",
                )
            )
        )
    lines += [f"{task_id}: {reason}" for task_id, reason in result["refused"].items()]
    if result["main"] is not None:
        ids = ", ".join(result["main"]["pushed"])
        lines.append(
            context.say(
                Wording(f"pushed from main.py's table: {ids or 'nothing'}", f"main.py 的任务表已写入：{ids or '无'}")
            )
        )
        for kind in ("blocked", "waiting"):
            lines += [f"{task_id}: {reason}" for task_id, reason in result["main"][kind].items()]
    return lines


# ---------------------------------------------------------------------- doctor and demo


def _doctor(arguments: argparse.Namespace, language: str) -> int:
    """Settings that cannot be read are one of its findings."""
    problem: Wording | None = None
    try:
        settings = _settings(arguments)
    except (CommandError, OSError) as error:
        problem = error.wording if isinstance(error, CommandError) else wording_of(_sentence(error))
        settings = _where_only()
    bar = ProgressBar(Wording("checking", "正在检查").text(language))
    try:
        report = doctor_module.report(
            settings, settings.output_dir or "output", settings_error=problem, on_progress=bar.show
        )
    finally:
        bar.end()
    if arguments.json:
        print(json.dumps(report.to_json(language), ensure_ascii=False, indent=1))
    else:
        print(report.text(language))
    return WELL if report.ok else ATTENTION


def _where_only() -> Settings:
    """Where ComfyUI and the folder are, from the environment, as far as that can be used."""
    kept = {name: os.environ[name] for name in ("COMFYUI_URL", "WFRECOVERY_OUTPUT") if name in os.environ}
    try:
        return load_settings(environ=kept)
    except SettingsError:
        return Settings()


def _demo(arguments: argparse.Namespace) -> int:
    # Found by name: `bridge` imports nothing of the demo, and a copy of `bridge` alone has none.
    try:
        story = importlib.import_module("wfrecovery.demo.story")
    except ImportError as error:
        raise CommandError(
            "no_demo",
            Wording(
                f"the demo needs its extra ({error.name} is missing): python -m pip install 'wfrecovery[demo]'",
                f"演示需要额外的包（缺少 {error.name}）：python -m pip install 'wfrecovery[demo]'",
            ),
        ) from error
    return int(story.run(comfyui=arguments.comfyui, stand_in=arguments.stand_in, keep=arguments.keep))


# ---------------------------------------------------------------------- arguments

_DESCRIPTION: Final = Wording("Batches in ComfyUI that survive anything.", "让 ComfyUI 的批处理任务不怕任何意外。")
_EXAMPLES: Final = Wording(
    """\
examples:
  wfrecovery status                    what ComfyUI at COMFYUI_URL knows, and the table of main.py
  wfrecovery tasks --status 失败       what failed, and why
  wfrecovery tasks --feishu blocked    what the sheet does not take, and why
  wfrecovery recover                   recover now, in ComfyUI and in main.py's table
  wfrecovery push                      try blocked results again, after the sheet was mended
  wfrecovery doctor                    is everything set up, and if not, what to click
  wfrecovery demo                      see a batch survive two crashes, without GPU and account

exit code: 0 all is well, 1 something needs attention, 2 it could not be done
language: --lang, else WFRECOVERY_LANGUAGE, else the system's
""",
    """\
例子：
  wfrecovery status                    ComfyUI（COMFYUI_URL）和 main.py 的任务情况
  wfrecovery tasks --status 失败       哪些失败了，为什么
  wfrecovery tasks --feishu blocked    哪些写不进表格，为什么
  wfrecovery recover                   立即恢复 ComfyUI 和 main.py 的任务
  wfrecovery push                      表格修好之后，重新写入受阻的结果
  wfrecovery doctor                    检查各项设置，并告诉你该点哪里
  wfrecovery demo                      看一批任务挺过两次崩溃（不需要显卡和账号）

退出码：0 一切正常，1 有事项需要处理，2 没能完成
语言：--lang，其次 WFRECOVERY_LANGUAGE，再其次系统语言
""",
)
_HELP: Final = {
    "status": Wording("counts, the last recovery, and what waits for Feishu", "任务数量、上次恢复、等待写入飞书的结果"),
    "tasks": Wording(
        "list tasks, newest first: ComfyUI's, or main.py's with --local",
        "列出任务，最新的在前：ComfyUI 的；加 --local 则是 main.py 的",
    ),
    "recover": Wording(
        "recover in ComfyUI and in main.py's table, and wait for the end", "恢复 ComfyUI 和 main.py 的任务，并等待结束"
    ),
    "push": Wording("try blocked results again, after the sheet was mended", "表格修好之后，重新写入受阻的结果"),
    "doctor": Wording(
        "check ComfyUI, plugin, output folder and Feishu, and say how to mend each; changes nothing",
        "检查 ComfyUI、插件、输出文件夹和飞书，并说明如何修复；不做任何改动",
    ),
    "demo": Wording(
        "see a batch survive two crashes; needs no GPU, no account, no ComfyUI",
        "看一批任务挺过两次崩溃；不需要显卡、账号和 ComfyUI",
    ),
    "json": Wording("print JSON, for scripts", "输出 JSON，供脚本使用"),
    "config": Wording(
        "config.toml to read (default: WFRECOVERY_CONFIG)", "要读取的 config.toml（默认：WFRECOVERY_CONFIG）"
    ),
    "lang": Wording("language of the output (default: WFRECOVERY_LANGUAGE, else the system's)", "输出语言"),
    "by_status": Wording("only tasks with this status", "只列出这个状态的任务"),
    "by_workflow": Wording("only tasks of this workflow", "只列出这种工作流的任务"),
    "by_stage": Wording("only tasks at this stage", "只列出这个阶段的任务"),
    "by_feishu": Wording("only tasks whose result is in this state", "只列出写入状态为此的任务"),
    "search": Wording("product, model, row or id", "产品、模特、行号或任务号"),
    "limit": Wording("at most N (default 50)", "最多 N 个（默认 50）"),
    "local": Wording("main.py's table instead of ComfyUI's", "main.py 的任务表，而不是 ComfyUI 的"),
    "task_ids": Wording("only these (default: all that are blocked)", "只处理这些任务（默认：所有受阻的）"),
    "comfyui": Wording(
        "a real ComfyUI (default: COMFYUI_PATH, ~/comfy/ComfyUI, else the stand-in)",
        "真实的 ComfyUI（默认：COMFYUI_PATH、~/comfy/ComfyUI，否则用替身）",
    ),
    "stand_in": Wording("the stand-in also where a real ComfyUI is found", "即使找到真实的 ComfyUI 也用替身"),
    "keep": Wording("keep sheet, files and logs in DIR", "把表格、文件和日志保存在 DIR"),
}
Command = Callable[[Context], Coroutine[Any, Any, int]]


def _parser(language: str) -> argparse.ArgumentParser:
    def text(name: str) -> str:
        return _HELP[name].text(language)

    spoken = argparse.ArgumentParser(add_help=False)
    spoken.add_argument("--lang", choices=LANGUAGES, help=text("lang"))
    parser = argparse.ArgumentParser(
        prog="wfrecovery",
        description=_DESCRIPTION.text(language),
        epilog=_EXAMPLES.text(language),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[spoken],
    )
    common = argparse.ArgumentParser(add_help=False, parents=[spoken])
    common.add_argument("--json", action="store_true", help=text("json"))
    common.add_argument("--config", metavar="FILE", help=text("config"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, parent: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[parent], help=text(name), description=text(name))

    add("status", common)
    listing = add("tasks", common)
    listing.add_argument("--status", choices=[item.value for item in WorkflowStatus], help=text("by_status"))
    listing.add_argument("--workflow-type", choices=[item.value for item in WorkflowType], help=text("by_workflow"))
    listing.add_argument("--stage", choices=[item.value for item in Stage], help=text("by_stage"))
    listing.add_argument("--feishu", choices=[item.value for item in FeishuState], help=text("by_feishu"))
    listing.add_argument("--search", metavar="TEXT", help=text("search"))
    listing.add_argument("--limit", type=_number, default=50, metavar="N", help=text("limit"))
    listing.add_argument("--local", action="store_true", help=text("local"))
    add("recover", common)
    pushing = add("push", common)
    pushing.add_argument("task_ids", nargs="*", metavar="TASK", help=text("task_ids"))
    pushing.add_argument("--local", action="store_true", help=text("local"))
    add("doctor", common)
    demo = add("demo", spoken)
    demo.add_argument("--comfyui", metavar="DIR", help=text("comfyui"))
    demo.add_argument("--stand-in", action="store_true", help=text("stand_in"))
    demo.add_argument("--keep", metavar="DIR", help=text("keep"))
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _asked_language(argv: Sequence[str] | None) -> str:
    """Known before the arguments are read: their help is in it, too."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--lang")
    with contextlib.suppress(argparse.ArgumentError):
        return language_of(parser.parse_known_args(argv)[0].lang)
    return language_of()


_COMMANDS: Final[Mapping[str, Command]] = {"status": status, "tasks": tasks, "recover": recover, "push": push}


def main(argv: list[str] | None = None) -> int:
    """The console script; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # a Windows console has its own code page
    language = _asked_language(argv)
    arguments = _parser(language).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return _run(arguments, language)
    except CommandError as error:
        return _refuse(arguments, error.kind, error.wording.text(language))
    except TaskError as error:
        return _refuse(arguments, "task", str(error))
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - nothing is left to flush at exit
        return WELL
    except OSError as error:
        return _refuse(arguments, "system", _sentence(error))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(arguments: argparse.Namespace, language: str) -> int:
    match arguments.command:
        case "demo":
            return _demo(arguments)
        case "doctor":
            return _doctor(arguments, language)
    code = asyncio.run(_COMMANDS[arguments.command](Context(arguments, language)))
    sys.stdout.flush()
    return code


def _refuse(arguments: argparse.Namespace, kind: str, text: str) -> int:
    """Say why nothing was done; a script reads it where it reads everything else."""
    if getattr(arguments, "json", False):
        print(json.dumps({"error": {"type": kind, "message": text}}, ensure_ascii=False, indent=1))
    print(f"wfrecovery: {text}", file=sys.stderr)
    return NOT_DONE


def _sentence(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


if __name__ == "__main__":
    sys.exit(main())
