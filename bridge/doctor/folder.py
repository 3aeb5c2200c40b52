"""`doctor`'s questions about this computer: packages, the output folder, the task table in it."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ..table.database import OldFileLockError, WorkflowDatabase, check_filelock
from ..table.files import FOLDER_NAME
from ..table.folder_test import examine_folder
from ..table.locks import NoLocksError
from ..table.records import TaskError
from ..wording import Wording
from .checks import Findings, after

#: Seconds that somebody else may hold the table's lock; a change takes milliseconds.
_LOCK_PATIENCE: Final = 5.0
#: Bytes that a disk has to have free: a record with its graph.
_LEAST_ROOM: Final = 1024 * 1024
#: What a file system answers that has no files without a name.
_NO_NAMELESS_FILES: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
#: Names of damaged records that are shown.
_NAMES_SHOWN: Final = 5

PACKAGE_TITLES: Final = {
    "filelock": Wording("filelock", "filelock"),
    "pillow": Wording("Pillow", "Pillow"),
}
TITLES: Final = {
    "folder": Wording("output folder", "输出文件夹"),
    "locks": Wording("locks in that folder", "该文件夹里的锁"),
    "table": Wording("task table", "任务表"),
    "same_table": Wording("ComfyUI's table and ours", "与 ComfyUI 的任务表"),
    "damaged": Wording("damaged records", "损坏的记录"),
}


def examine_packages(found: Findings) -> None:
    """What is installed for the Python that runs this."""
    try:
        check_filelock()
    except OldFileLockError:
        found.wrong(
            "filelock",
            Wording(
                f"{version('filelock')}; together with a newer one it lets two programs write at once",
                f"{version('filelock')}；与较新的版本混用时，两个程序会同时写入",
            ),
            Wording(
                "run: python -m pip install -U filelock (with the Python that runs this, and with ComfyUI's)",
                "运行：python -m pip install -U filelock（用运行本命令的 Python，也用 ComfyUI 的 Python）",
            ),
            blocks=after("folder", TITLES),
        )
    else:
        found.well("filelock", version("filelock"))
    if importlib.util.find_spec("PIL") is None:
        found.unknown(
            "pillow",
            Wording(
                "not installed: pictures that are too large for Feishu, or of a format it does not take, stay out",
                "未安装：过大的图片，或飞书不支持的格式（如 WEBP），无法转换后写入",
            ),
            Wording("if you save such: python -m pip install Pillow", "如果保存这类图片：python -m pip install Pillow"),
        )
    else:
        found.well("pillow", version("Pillow"))


def examine(found: Findings, output_dir: Path, status: Mapping[str, Any] | None, *, alone: bool) -> None:
    """The output folder, and the table in it; `status` is the plugin's where it is known. `alone`: there is no table of
    another program to compare it with."""
    if not _folder(found, output_dir) or not found.answer("filelock"):
        return
    _locks(found, output_dir)
    table = WorkflowDatabase(output_dir, lock_timeout=_LOCK_PATIENCE)
    if not table.folder.exists():
        found.well("table", Wording("it begins with the first task", "第一个任务时建立"))
    elif not _table(found, table):
        return
    if not alone:
        _same_table(found, table, status)
    _damaged(found, table, status)


def examine_none(found: Findings, folder: Path, status: Mapping[str, Any] | None) -> None:
    """WFRECOVERY_OUTPUT is not set, and its default is not there: who has no main.py needs no folder here."""
    for name in ("folder", "locks", "table", "same_table"):
        found.unknown(
            name,
            Wording(
                f"not checked: WFRECOVERY_OUTPUT is not set, and there is no {folder} (only main.py needs it)",
                f"未检查：没有设置 WFRECOVERY_OUTPUT，也没有 {folder}（只有 main.py 需要）",
            ),
        )
    if status is None:
        found.unknown("damaged", Wording("not checked: no table is known", "未检查：没有已知的任务表"))
    else:
        _tell_damaged(found, [], "", int(status.get("corrupt") or 0))


def _folder(found: Findings, folder: Path) -> bool:
    later = after("folder", TITLES)
    if not folder.exists():
        found.wrong(
            "folder",
            Wording(f"there is no {folder}", f"没有 {folder}"),
            Wording(
                "make it, or set WFRECOVERY_OUTPUT to the folder where main.py (or ComfyUI) puts its results",
                "建立这个文件夹，或把 WFRECOVERY_OUTPUT 设为 main.py（或 ComfyUI）保存结果的文件夹",
            ),
            blocks=later,
        )
        return False
    if not folder.is_dir():
        elsewhere = Wording(", or set WFRECOVERY_OUTPUT to a folder", "，或把 WFRECOVERY_OUTPUT 设为一个文件夹")
        _tell_is_file(found, "folder", folder, elsewhere)
        return False
    refusal = _why_not_writable(folder)
    if refusal:
        found.wrong(
            "folder",
            f"{folder}: {refusal}",
            Wording(
                "give the account that runs this the right to write there, or make room on the disk, "
                "or set WFRECOVERY_OUTPUT to another folder",
                "让运行本命令的账户有写入权限，或清理磁盘空间，或把 WFRECOVERY_OUTPUT 设为另一个文件夹",
            ),
            blocks=later,
        )
        return False
    found.well("folder", str(folder))
    return True


def _tell_is_file(found: Findings, name: str, path: Path, otherwise: Wording) -> None:
    found.wrong(
        name,
        Wording(f"{path} is no folder but a file", f"{path} 不是文件夹，而是文件"),
        Wording("move the file away", "移走这个文件") + otherwise,
        blocks=after(name, TITLES),
    )


def _locks(found: Findings, folder: Path) -> None:
    """What may be relied on there. Who has no locks that hold waits a little longer, which needs no mending."""
    tried = examine_folder(folder)
    elsewhere = Wording("a folder on a disk of this computer can do it", "本机磁盘上的文件夹没有这个问题")
    if tried.replace is False:
        found.wrong("locks", tried.wording(), elsewhere)
    elif tried.mode == "locks":
        found.well("locks", tried.wording())
    else:
        found.unknown("locks", tried.wording(), elsewhere)


def _why_not_writable(folder: Path) -> str:
    """Why nothing can be written there, in the system's words; empty where it can. Asked, and where the system has
    files without a name, tried with one: nothing is seen of it, not even by the folder's own time."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return os.strerror(errno.EACCES)
    nameless = getattr(os, "O_TMPFILE", 0)
    try:
        if shutil.disk_usage(folder).free < _LEAST_ROOM:
            return os.strerror(errno.ENOSPC)
        if nameless:
            _try_to_write(folder, nameless)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _try_to_write(folder: Path, nameless: int) -> None:
    try:
        descriptor = os.open(folder, os.O_WRONLY | nameless, 0o600)
    except OSError as error:
        if error.errno in _NO_NAMELESS_FILES:
            return
        raise
    try:
        os.write(descriptor, b"wfrecovery")
    finally:
        os.close(descriptor)


def _table(found: Findings, table: WorkflowDatabase) -> bool:
    """Whether the table can be locked and written. What is not there yet is not made."""
    files = [path for path in table.own_folders() if path.exists() and not path.is_dir()]
    if files:
        _tell_is_file(found, "table", files[0], Wording("", ""))
        return False
    refusal: Wording | str | None = None
    try:
        table.try_lock()
        refusal = next(filter(None, (_why_not_writable(path) for path in table.own_folders())), None)
    except NoLocksError as error:
        refusal = error.wording
    except TaskError as error:
        refusal = error.wording
    except OSError as error:
        refusal = error.strerror or str(error)
    if refusal:
        found.wrong(
            "table",
            Wording(f"{table.folder}: ", f"{table.folder}：") + refusal,
            Wording(
                "give the accounts of ComfyUI and main.py the right to write there (both the same account is best), "
                "and end what holds the lock",
                "让 ComfyUI 和 main.py 的账户都能写入（最好是同一个账户），并结束占用锁的程序",
            ),
            blocks=after("table", TITLES),
        )
        return False
    found.well("table", str(table.folder))
    return True


def _same_table(found: Findings, table: WorkflowDatabase, status: Mapping[str, Any] | None) -> None:
    if status is None:
        found.unknown("same_table", Wording("the plugin does not answer", "插件没有响应"))
    elif table.is_shared_with(status):
        found.well("same_table", Wording("they share this table", "共用这个任务表"))
    else:
        found.well(
            "same_table",
            Wording("each has a table of its own, which is fine", "各用各的任务表，没有问题"),
        )


def _damaged(found: Findings, table: WorkflowDatabase, status: Mapping[str, Any] | None) -> None:
    """What was set aside, and what will be: it is left where it is."""
    theirs = 0 if status is None or table.is_shared_with(status) else int(status.get("corrupt") or 0)
    _tell_damaged(found, [*table.corrupt(), *table.unreadable()], str(table.folder / "corrupt"), theirs)


def _tell_damaged(found: Findings, here: Sequence[str], folder: str, theirs: int) -> None:
    if not here and not theirs:
        found.well("damaged", Wording("none", "没有"))
        return
    names = ", ".join(here[:_NAMES_SHOWN]) + (" …" if len(here) > _NAMES_SHOWN else "")
    where = f"{len(here)}: {names} ({folder})" if here else ""
    others = Wording(f"{theirs} in ComfyUI's table", f"ComfyUI 的任务表里有 {theirs} 个") if theirs else Wording("", "")
    found.wrong(
        "damaged",
        Wording("; ".join(filter(None, (where, others.en))), "；".join(filter(None, (where, others.zh)))),
        Wording(
            f"look into {FOLDER_NAME}/corrupt: beside each file its .reason.txt says what is wrong. Mend the JSON and "
            "move it back into active/, or do the row again; then delete both files. What still lies in active/ is set "
            "aside, or rebuilt from its graph, when ComfyUI or main.py starts. All other tasks go on",
            f"打开 {FOLDER_NAME}/corrupt：每个文件旁边的 .reason.txt 写着原因。修好 JSON 后移回 active/，或重做那一行；"
            "然后删除这两个文件。还在 active/ 里的，会在 ComfyUI 或 main.py 启动时移走，或由工作流重建。"
            "其他任务不受影响",
        ),
    )
