"""Nodes for workflow authors."""

from .row_task import RowTask

NODE_CLASS_MAPPINGS: dict[str, type] = {RowTask.NAME: RowTask}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {RowTask.NAME: RowTask.TITLE}
