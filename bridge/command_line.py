"""`wfrecovery`: status, tasks, recover, push, demo."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from .comfyui_client import ComfyUIClient, ComfyUIError
from .database_manager import DatabaseManager
from .feishu_client import FeishuClient
from .publisher import Publisher
from .records import FeishuState, TaskError, WorkflowStatus, WorkflowType
from .settings import Settings, SettingsError, load_settings
from .task_recovery import TaskRecoveryManager
from .workflow_database import FOLDER_NAME

_EXAMPLES: Final = """\
examples:
  wfrecovery status                    what ComfyUI at COMFYUI_URL knows, and the table of main.py
  wfrecovery tasks --status 失败        what failed, and why
  wfrecovery recover                   recover now, in ComfyUI and in main.py's table
  wfrecovery push                      try blocked results again, after the sheet was mended
  wfrecovery demo                      see a batch survive two crashes, without GPU and account

exit code: 0 all is well, 1 something needs attention, 2 it could not be done
"""


class CommandError(Exception):
    """The command cannot be carried out; the text says what to do."""


class Context:
    """What every command needs: settings, ComfyUI, and main.py's table where there is one."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.settings = _settings(arguments)
        self.comfy = ComfyUIClient(self.settings.comfyui_url)
        folder = Path(self.settings.output_dir or "output")
        self.db = DatabaseManager(folder) if (folder / FOLDER_NAME).is_dir() else None

    def show(self, data: Any, text: str) -> None:
        """Print for a script or for a person."""
        print(json.dumps(data, ensure_ascii=False, indent=1) if self.arguments.json else text)

    async def plugin(self, method: str, path: str) -> Any:
        """The plugin's answer; raises CommandError that says what is wrong."""
        try:
            status, answer = await self.comfy.ask_plugin(method, path)
        except ComfyUIError as error:
            raise CommandError(f"{error}. Start ComfyUI, or set COMFYUI_URL to where it runs.") from error
        if status == 404 and not (isinstance(answer, Mapping) and "error" in answer):
            raise CommandError(
                f"ComfyUI at {self.comfy.base_url} runs without the plugin: put wfrecovery into custom_nodes"
            )
        if status >= 400:
            raise CommandError(str(answer["error"]["message"]))
        return answer


def _settings(arguments: argparse.Namespace) -> Settings:
    try:
        settings = load_settings(arguments.config)
    except SettingsError as error:
        raise CommandError(str(error)) from error
    return settings


# ---------------------------------------------------------------------- commands


async def status(context: Context) -> int:
    """Counts, the last recovery, and what waits for Feishu."""
    data: dict[str, Any] = {"comfyui": None, "main": _local_status(context)}
    problem = None
    try:
        data["comfyui"] = await context.plugin("GET", "/wfrecovery/status")
    except CommandError as error:
        problem = data["problem"] = str(error)
    lines = [problem] if problem else _status_lines(f"ComfyUI at {context.comfy.base_url}", data["comfyui"])
    if data["main"] is not None:
        lines += _status_lines(f"main.py's table in {context.db and context.db.output_dir}", data["main"])
    context.show(data, "\n".join(lines))
    if problem:
        return 2
    return 1 if any(map(_needs_attention, filter(None, (data["comfyui"], data["main"])))) else 0


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
    return bool(failed or data["corrupt"] or data["feishu"]["blocked"] or data.get("last_error"))


def _status_lines(title: str, data: Mapping[str, Any]) -> list[str]:
    counts = "  ".join(f"{name} {number}" for name, number in data["tasks"].items())
    feishu = data["feishu"]
    lines = [title, f"  tasks    {counts}" + (f"  damaged {data['corrupt']}" if data["corrupt"] else "")]
    if "recovery" in data:
        run = data["recovery"]
        lines.append(
            f"  recovery {run['state']}: {run['done']} of {run['total']} decided, {run['recovered']} found complete, "
            f"{run['requeued']} queued again, {run['failed']} failed, {run['asking']} wait for your decision"
        )
    lines.append(f"  Feishu   pushed {feishu['pushed']}, waiting {feishu['pending']}, blocked {feishu['blocked']}")
    if feishu.get("last_error"):
        lines.append(f"           {feishu['last_error']}")
    return lines


async def tasks(context: Context) -> int:
    """A list of tasks, newest first; from ComfyUI, or from main.py's table with --local."""
    arguments = context.arguments
    if arguments.local:
        found = _local_tasks(context)
    else:
        wanted = {"status": arguments.status, "workflow_type": arguments.workflow_type, "q": arguments.search}
        query = urlencode({name: value for name, value in wanted.items() if value})
        found = (await context.plugin("GET", f"/wfrecovery/tasks?limit={arguments.limit}&{query}"))["tasks"]
    context.show(found, "\n".join(map(_task_line, found)) or "no tasks")
    return 0


def _local_tasks(context: Context) -> list[dict[str, Any]]:
    if context.db is None:
        raise CommandError(
            f"there is no task table in {context.settings.output_dir or 'output'}: set WFRECOVERY_OUTPUT"
        )
    arguments, found = context.arguments, []
    for task_id in context.db.table.ids():
        task = context.db.get_task(task_id)
        if (
            task is not None
            and arguments.status in (None, task["status"])
            and arguments.workflow_type in (None, task["workflow_type"])
            and (arguments.search or "")
            in f"{task_id} {task['product_name']} {task['model_name']} {task['row_number']}"
        ):
            found.append(task)
        if len(found) == arguments.limit:
            break
    return found


def _task_line(task: Mapping[str, Any]) -> str:
    feishu = task["metadata"].get("feishu", {})
    row = f"row {task['row_number']}  {task['product_name']} · {task['model_name']}" if task["row_number"] else "no row"
    reason = task["error_message"] or feishu.get("last_error")
    line = f"{task['task_id']}  {task['status']}  {task['metadata'].get('stage')}  Feishu {feishu.get('state')}  {row}"
    return f"{line}\n    {reason}" if reason else line


async def recover(context: Context) -> int:
    """Recover in ComfyUI, then in main.py's table, and wait for the end."""
    await context.plugin("POST", "/wfrecovery/recover")
    while True:
        data = await context.plugin("GET", "/wfrecovery/status")
        _progress(data["recovery"]["done"], data["recovery"]["total"])
        if data["recovery"]["state"] == "idle":
            break
        await asyncio.sleep(0.2)
    recovered = []
    if context.db is not None and context.db.table.host() != data["boot_id"]:
        manager = TaskRecoveryManager(context.db, context.comfy, FeishuClient(context.settings), on_progress=_progress)
        recovered = await manager.check_and_recover_tasks() + await manager.wait_until_done()
    lines = [*_status_lines("ComfyUI", data), *map(_task_line, recovered)]
    context.show({"comfyui": data["recovery"], "main": recovered}, "\n".join(lines))
    failed = data["recovery"]["failed"] or any(task["status"] == WorkflowStatus.FAILED.value for task in recovered)
    return 1 if failed else 0


async def push(context: Context) -> int:
    """Put blocked results back into the outbox; deliver main.py's own."""
    pushed: dict[str, Any] = {"comfyui": [], "main": None}
    problem = None
    try:
        for task in await _plugin_blocked(context):
            await context.plugin("POST", f"/wfrecovery/tasks/{task['task_id']}/push")
            pushed["comfyui"].append(task["task_id"])
    except CommandError as error:
        problem = str(error)
    if context.db is not None:
        publisher = Publisher(context.db, FeishuClient(context.settings))
        if not context.settings.feishu_configured:
            raise CommandError(f"Feishu is not set up here: {', '.join(context.settings.missing)} missing")
        publisher.unblock()
        report = await asyncio.to_thread(publisher.flush)
        pushed["main"] = {"pushed": report.pushed, "blocked": report.blocked, "waiting": report.waiting}
    elif problem:
        raise CommandError(problem)
    lines = [f"handed to ComfyUI's publisher again: {', '.join(pushed['comfyui']) or 'nothing was blocked'}"]
    if pushed["main"] is not None:
        lines.append(f"pushed from main.py's table: {', '.join(pushed['main']['pushed']) or 'nothing'}")
        lines += [
            f"{task_id}: {reason}"
            for kind in ("blocked", "waiting")
            for task_id, reason in pushed["main"][kind].items()
        ]
    context.show(pushed, "\n".join(lines))
    return 1 if pushed["main"] and (pushed["main"]["blocked"] or pushed["main"]["waiting"]) else 0


async def _plugin_blocked(context: Context) -> list[dict[str, Any]]:
    found, cursor = [], ""
    while True:
        page = await context.plugin("GET", f"/wfrecovery/tasks?limit=200{cursor}")
        for task in page["tasks"]:
            state = task["metadata"]["feishu"]["state"]
            if state == FeishuState.BLOCKED.value and task["task_id"] in (
                context.arguments.task_ids or [task["task_id"]]
            ):
                found.append(task)
        if not page["next_cursor"]:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and total:
        width = 30 * done // total
        print(f"\r[{'█' * width:<30}] {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------- arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wfrecovery",
        description="Batches in ComfyUI that survive anything.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, for scripts")
    common.add_argument("--config", metavar="FILE", help="config.toml to read (default: WFRECOVERY_CONFIG)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Context], Awaitable[int]]) -> argparse.ArgumentParser:
        summary = (run.__doc__ or "").strip()
        command = commands.add_parser(name, parents=[common], help=summary, description=summary)
        command.set_defaults(run=run)
        return command

    add("status", status)
    listing = add("tasks", tasks)
    listing.add_argument("--status", choices=[item.value for item in WorkflowStatus])
    listing.add_argument("--workflow-type", choices=[item.value for item in WorkflowType])
    listing.add_argument("--search", metavar="TEXT", help="product, model, row or id")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most N, up to 200 (default 50)")
    listing.add_argument("--local", action="store_true", help="main.py's table instead of ComfyUI's")
    add("recover", recover)
    add("push", push).add_argument(
        "task_ids", nargs="*", metavar="TASK", help="only these (default: all that are blocked)"
    )
    demo = commands.add_parser("demo", help="See a batch survive two crashes; needs no GPU, no account, no ComfyUI.")
    demo.add_argument(
        "--comfyui", metavar="DIR", help="a real ComfyUI (default: COMFYUI_PATH, ~/comfy/ComfyUI, else the stand-in)"
    )
    demo.add_argument("--stand-in", action="store_true", help="the stand-in also where a real ComfyUI is found")
    demo.add_argument("--keep", metavar="DIR", help="keep sheet, files and logs in DIR")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The console script; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # a Windows console has its own code page
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if arguments.command == "demo":
            return _demo(arguments)
        code: int = asyncio.run(arguments.run(Context(arguments)))
        return code
    except (CommandError, TaskError, OSError) as error:
        print(f"wfrecovery: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _demo(arguments: argparse.Namespace) -> int:
    # Found by name: `bridge` imports nothing of the demo, and a copy of `bridge` alone has none.
    try:
        story = importlib.import_module("wfrecovery.demo.story")
    except ImportError as error:
        raise CommandError(
            f"the demo needs its extra ({error.name} is missing): python -m pip install 'wfrecovery[demo]'"
        ) from error
    return int(story.run(comfyui=arguments.comfyui, stand_in=arguments.stand_in, keep=arguments.keep))


if __name__ == "__main__":
    sys.exit(main())
