"""How a prompt ended, as the change of its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ...bridge.engines.history import INTERRUPTED, Place, Sighting
from ...bridge.redact import redact
from ...bridge.results.output_files import why_not_whole
from ...bridge.table.manager import cancelled, failed, finished
from ...bridge.table.records import TaskRecord
from ...bridge.table.values import Result
from ...bridge.wording import Wording

DELETED: Final = Wording("deleted from the queue by the user", "已被用户从队列中删除")
NO_FILE: Final = Wording(
    "ComfyUI says it finished, but it wrote no file into the output folder",
    "ComfyUI 报告已完成，但没有在输出文件夹写出文件",
)


def ending(output_dir: Path, sighting: Sighting, secrets: Sequence[str] = ()) -> Callable[[TaskRecord], TaskRecord]:
    """The change that records how a prompt ended. A success counts only with files that are whole.

    The files are read here, before the table is locked for the change.
    """
    files = tuple(file.path for file in sighting.files)
    reasons = ((name, why_not_whole(output_dir / name)) for name in files)
    broken = next((f"{name} is no whole result: {reason}" for name, reason in reasons if reason), None)

    def change(task: TaskRecord) -> TaskRecord:
        if task.stage.final:
            return task
        if sighting.place is Place.INTERRUPTED:
            return cancelled(task, sighting.message or INTERRUPTED)
        if sighting.place is not Place.SUCCEEDED:
            reason = sighting.message or Wording("failed", "失败")
            return failed(task, reason.changed(lambda text: redact(text, secrets)))
        if broken:
            return failed(
                task,
                Wording(f"ComfyUI says it finished, but {broken}", f"ComfyUI 报告已完成，但结果不完整：{broken}"),
            )
        if not files and task.row_number is not None:
            return failed(task, NO_FILE)
        return finished(task, tuple(map(Result, files)))

    return change
