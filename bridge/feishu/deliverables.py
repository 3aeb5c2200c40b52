"""What of a task is delivered: the chosen file, if its content is still the task's."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Final

from ..results.choice import chosen, none_fits
from ..results.contents import Contents
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from ..table.values import Result
from ..wording import Wording
from .cell_pictures import LARGEST_PICTURE, marks_of, picture_for_cell
from .errors import FeishuError, Remedy

#: Bytes of a picture that is read into memory, to go into a cell as it is or smaller.
LARGEST_ORIGINAL: Final = 256 * 1024 * 1024


class Deliverables:
    """The files of one table's results, each looked at before it is used."""

    def __init__(self, db: DatabaseManager) -> None:
        self._output_dir = db.output_dir
        self._contents = Contents(db.table.files, db.output_dir)

    def path(self, task: TaskRecord) -> Path:
        """Where the content lies that is to be delivered. Raises FeishuError, ResultGoneError."""
        return self._contents.verified(task, self._chosen(task))

    def picture(self, task: TaskRecord) -> tuple[str, bytes]:
        """Name and content of the picture. Raises FeishuError, ResultGoneError."""
        result = self._chosen(task)
        if (self._contents.stamped(result.path).size or 0) > LARGEST_ORIGINAL:
            raise FeishuError(
                Wording(
                    f"{result.path} is larger than {LARGEST_ORIGINAL >> 20} MiB, too large to be made smaller for a "
                    "cell → save a smaller picture, then render the row again",
                    f"{result.path} 超过 {LARGEST_ORIGINAL >> 20} MiB，太大，无法缩小后写入单元格"
                    " → 请保存较小的图片，再重新生成该行",
                ),
                remedy=Remedy.FINAL,
            )
        return PurePosixPath(result.path).name, self._contents.read(task, result)

    def marks(self, task: TaskRecord) -> frozenset[str]:
        """What its picture is known by in a cell, as it is and as it is sent: see `marks_of`. Raises FeishuError,
        ResultGoneError."""
        name, original = self.picture(task)
        _, content = picture_for_cell(name, original, LARGEST_PICTURE)
        return marks_of(content) | {hashlib.sha256(original).hexdigest()}

    def digest(self, task: TaskRecord) -> str | None:
        """Of the content that is to be delivered, in hex, as the record has it; an older version noted none. Raises
        FeishuError."""
        return self._chosen(task).sha256

    def _chosen(self, task: TaskRecord) -> Result:
        if not task.results:
            raise FeishuError(
                Wording("the task has no result file → render the row again", "任务没有结果文件 → 请重新生成该行"),
                remedy=Remedy.FINAL,
            )
        result = chosen(task, self._output_dir) or self._gone_unseen(task)
        if result is None:
            raise FeishuError(none_fits(task), remedy=Remedy.FINAL)
        return result

    def _gone_unseen(self, task: TaskRecord) -> Result | None:
        """What went before anybody had looked what it is: who reads it then says that it is gone."""
        unseen = (result for result in task.results if result.kind is None)
        return next((result for result in unseen if self._contents.stamped(result.path).stamp is None), None)
