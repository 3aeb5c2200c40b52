"""What may be typed after `wfrecovery`, and the help to it in both languages."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from typing import Final

from ..table.records import Stage, WorkflowStatus, WorkflowType, is_task_id
from ..table.values import FeishuState
from ..terminal import LANGUAGES, language_of
from ..wording import Wording
from .decide import DECISIONS

_DESCRIPTION: Final = Wording("Batches in ComfyUI that survive anything.", "让 ComfyUI 的批处理任务不怕任何意外。")
_EXAMPLES: Final = Wording(
    """\
examples:
  wfrecovery status                    what ComfyUI at COMFYUI_URL knows, and the table of main.py
  wfrecovery tasks --status 失败       what failed, and why
  wfrecovery tasks --feishu blocked    what the sheet does not take, and why
  wfrecovery recover                   recover now, in ComfyUI and in main.py's table
  wfrecovery push                      try blocked results again, after the sheet was mended
  wfrecovery decide TASK write         into the row that was changed meanwhile, all the same
  wfrecovery decide TASK file --file img/a.png   this file is its result, and belongs to its row
  wfrecovery decide TASK again         once more what a cloud has not answered: it may be paid twice
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
  wfrecovery decide 任务号 write       行被改过，仍然写入那一行
  wfrecovery decide 任务号 file --file img/a.png   这个文件是它的结果，属于它的行
  wfrecovery decide 任务号 again       重新生成云端没有应答的任务：可能重复计费
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
    "decide": Wording(
        "decide about a result that cannot be delivered: write it all the same, name a file, render again, or leave it",
        "决定一个写不进去的结果怎么办：仍然写入、指定文件、重新生成，或不再写入",
    ),
    "decided_task": Wording("the task", "任务号"),
    "decision": Wording(
        "write: into its row, whatever that says now (--row N where there are several); file: --file PATH is its "
        "result, where its own is gone or could not be told; again: the same workflow once more, where the result is "
        "lost, or a cloud has not answered (it may be paid for twice); leave: deliver it no more, and the next batch "
        "renders what the row says now; arrived: a cloud has it, under --id ID",
        "write：写入它的行，不管那一行现在是什么（有多行时用 --row N）；file：结果丢失或无法判断时，"
        "把 --file 的文件作为结果；again：结果丢失或云端没有应答时，用同一工作流重新生成（可能计费两次）；"
        "leave：不再写入，下一批按该行现在的内容重新生成；arrived：云端已有该任务，用 --id 指定其 ID",
    ),
    "row": Wording("the number of the row, with write", "行号，与 write 一起用"),
    "file": Wording(
        "the file, relative to the output folder, or absolute inside it; with file",
        "文件路径：相对于输出文件夹，或其中的绝对路径；与 file 一起用",
    ),
    "job_id": Wording("the task's id in the cloud, with arrived", "云端的任务 ID，与 arrived 一起用"),
    "doctor": Wording(
        "check ComfyUI and plugin (or the cloud of WFRECOVERY_ENGINE), output folder and Feishu, and say how to mend "
        "each; changes nothing",
        "检查 ComfyUI 和插件（或 WFRECOVERY_ENGINE 的云端）、输出文件夹和飞书，并说明如何修复；不做任何改动",
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
    "local": Wording(
        "main.py's table instead of ComfyUI's; so it is by itself where WFRECOVERY_ENGINE names a cloud",
        "main.py 的任务表，而不是 ComfyUI 的；WFRECOVERY_ENGINE 是云端时自动如此",
    ),
    "take_over": Wording(
        "first take over what this owner is at work on, also if it lives (wfrecovery status lists them), or what a "
        "ComfyUI of another address was to render (comfyui:http://…)",
        "先接管这个所有者正在处理的任务，即使它还活着（wfrecovery status 会列出），"
        "或另一个地址的 ComfyUI 应生成的任务（comfyui:http://…）",
    ),
    "dry_run": Wording(
        "only say what would happen to each task, and what is paid for; changes nothing",
        "只列出每个任务会怎样、要计费多少；不做任何改动",
    ),
    "task_ids": Wording("only these (default: all that are blocked)", "只处理这些任务（默认：所有受阻的）"),
    "comfyui": Wording(
        "a real ComfyUI (default: COMFYUI_PATH, ~/comfy/ComfyUI, else the stand-in)",
        "真实的 ComfyUI（默认：COMFYUI_PATH、~/comfy/ComfyUI，否则用替身）",
    ),
    "stand_in": Wording("the stand-in also where a real ComfyUI is found", "即使找到真实的 ComfyUI 也用替身"),
    "cloud": Wording(
        "with a cloud that makes its own task ids (a stand-in of RunningHub) in the place of ComfyUI",
        "用自己分配任务 ID 的云端（RunningHub 替身）代替 ComfyUI",
    ),
    "keep": Wording("keep sheet, files and logs in DIR", "把表格、文件和日志保存在 DIR"),
}


def parser_in(language: str) -> argparse.ArgumentParser:
    """Of all commands; its help is in `language`."""

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
    listing.add_argument("--search", type=_text, metavar="TEXT", help=text("search"))
    listing.add_argument("--limit", type=_number, default=50, metavar="N", help=text("limit"))
    listing.add_argument("--local", action="store_true", help=text("local"))
    recovering = add("recover", common)
    how = recovering.add_mutually_exclusive_group()
    how.add_argument("--take-over", metavar="OWNER", help=text("take_over"))
    how.add_argument("--dry-run", action="store_true", help=text("dry_run"))
    pushing = add("push", common)
    pushing.add_argument("task_ids", nargs="*", type=_task_id, metavar="TASK", help=text("task_ids"))
    pushing.add_argument("--local", action="store_true", help=text("local"))
    deciding = add("decide", common)
    deciding.add_argument("task_id", type=_task_id, metavar="TASK", help=text("decided_task"))
    deciding.add_argument("decision", choices=DECISIONS, help=text("decision"))
    deciding.add_argument("--row", type=_number, metavar="N", help=text("row"))
    deciding.add_argument("--file", metavar="PATH", help=text("file"))
    deciding.add_argument("--id", metavar="ID", help=text("job_id"))
    deciding.add_argument("--local", action="store_true", help=text("local"))
    add("doctor", common)
    demo = add("demo", spoken)
    renders = demo.add_mutually_exclusive_group()
    renders.add_argument("--comfyui", metavar="DIR", help=text("comfyui"))
    renders.add_argument("--stand-in", action="store_true", help=text("stand_in"))
    renders.add_argument("--cloud", action="store_true", help=text("cloud"))
    demo.add_argument("--keep", metavar="DIR", help=text("keep"))
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _task_id(text: str) -> str:
    if not is_task_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no task id (they look like img_20261123_001)")
    return text


def _text(text: str) -> str:
    """Bytes of the shell that are no text of its encoding are replaced: nothing can be sent with them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def asked_language(argv: Sequence[str] | None) -> str:
    """Known before the arguments are read: their help is in it, too."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--lang")
    with contextlib.suppress(argparse.ArgumentError):
        return language_of(parser.parse_known_args(argv)[0].lang)
    return language_of()
