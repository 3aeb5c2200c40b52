"""One flush: results into the rows they were made for, by one reading of the sheet that every answer confirms."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, WorkflowStatus, WorkflowType
from .client import FeishuClient
from .deliverables import Deliverables
from .drive_upload import DriveUploader
from .finding import RowNotFoundError
from .look_back import LookBack
from .own_push import OwnPush
from .picture_delivery import PictureDelivery
from .reading import SheetReader
from .shown import Shown
from .status_column import status_field
from .status_delivery import StatusDelivery, says_nothing

#: Brings a task's video (the path) to where a link can show it, and returns the link's address.
VideoLink = Callable[[TaskRecord, Path], str]


class Delivery:
    """What one flush delivers. Not for several threads; the caller holds the publisher's locks."""

    def __init__(
        self,
        feishu: FeishuClient,
        db: DatabaseManager,
        reader: SheetReader,
        video_link: VideoLink | None = None,
        *,
        own_push: OwnPush,
        began: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`began`: see `LookBack`. `own_push`: looks out for a publisher's whole life."""
        self._feishu, self._db, self._reader, self._video_link = feishu, db, reader, video_link
        self._links: dict[str, str] = {}
        self._deliverables = Deliverables(db)
        self._own_push = own_push
        shown = Shown(feishu, db, reader, self._deliverables)
        self._pictures = PictureDelivery(feishu, db, reader, self._deliverables, shown, own_push=own_push)
        self._statuses = StatusDelivery(feishu, db, reader, self._links, shown)
        self._look_back = LookBack(reader, shown, began, clock)
        #: by task id the other table, of what was found to stand in its row already
        self.found: dict[str, str] = {}

    def deliver(self, task: TaskRecord) -> None:
        """Bring the task's picture into its cell, or its video to where it is linked; the status comes last, by
        `write_statuses`. Raises FeishuError, SheetLayoutError, RowNotFoundError, ResultGoneError."""
        if says_nothing(task, self._feishu):
            return
        try:
            row = self._reader.row(task)
        except RowNotFoundError:
            self.withdraw(task)
            row = self._reader.row(task)  # it may have stood over what tells its own row
        self._reader.sheet.address(row, status_field(task.workflow_type))
        if task.status is WorkflowStatus.FAILED:
            return
        if task.twin is not None and self._look_back.stands_there(task):
            self.found[task.task_id] = task.twin
            return
        if task.workflow_type == WorkflowType.IMAGE_COMPOSITION.value:
            self._pictures.put(task)
            return
        self._own_push.look_at_status(task, self._reader, row)
        video = self._deliverables.path(task)
        if self._video_link is not None:
            self._reader.sheet.place("video_link")
            self._links[task.task_id] = self._video_link(task, video)

    def withdraw(self, task: TaskRecord) -> None:
        """See `PictureDelivery`."""
        self._pictures.withdraw(task)

    def write_statuses(self, tasks: Sequence[TaskRecord]) -> dict[str, Exception]:
        """Write the status (and link) cells of delivered tasks, of TASKS_PER_WRITE at most, in one call.

        Returns why those failed that did, by task id; the others are in the sheet, or were left to whoever wrote
        something else there.
        """
        return self._statuses.write(tasks)


def video_links(feishu: FeishuClient, db: DatabaseManager) -> VideoLink | None:
    """Uploads videos where the settings name a column for links; each step of an upload is kept in the record."""
    if not feishu.settings.sheet_columns.video_link:
        return None
    uploader = DriveUploader(feishu.settings, feishu.tenant_token, feishu.drop_token)

    def link(task: TaskRecord, video: Path) -> str:
        def store(state: dict[str, Any]) -> None:
            db.table.update(task.task_id, partial(TaskRecord.with_outbox, upload=state))

        return uploader.upload(video, video.name, task.outbox.upload or {}, store)

    return link
