"""What `main.py` and the plugin share. Imports nothing of ComfyUI."""

from .engines.comfyui import (
    ComfyUIClient,
    ComfyUIError,
    ComfyUIUnreachableError,
    PromptRefusedError,
    WorkflowClient,
    new_prompt_id,
)
from .engines.history import Place, ResultFile, Sighting
from .feishu.client import FeishuClient
from .feishu.errors import FeishuError, FeishuNotConfiguredError
from .feishu.publisher import FlushReport, Publisher
from .recovery.manager import TaskRecoveryManager
from .settings import Columns, Settings, SettingsError, load_settings
from .table.database import WorkflowDatabase
from .table.manager import DatabaseManager
from .table.records import Stage, TaskError, TaskRecord, WorkflowStatus, WorkflowType
from .table.rows import RowData
from .table.values import FeishuState

__all__ = [
    "Columns",
    "ComfyUIClient",
    "ComfyUIError",
    "ComfyUIUnreachableError",
    "DatabaseManager",
    "FeishuClient",
    "FeishuError",
    "FeishuNotConfiguredError",
    "FeishuState",
    "FlushReport",
    "Place",
    "PromptRefusedError",
    "Publisher",
    "ResultFile",
    "RowData",
    "Settings",
    "SettingsError",
    "Sighting",
    "Stage",
    "TaskError",
    "TaskRecord",
    "TaskRecoveryManager",
    "WorkflowClient",
    "WorkflowDatabase",
    "WorkflowStatus",
    "WorkflowType",
    "load_settings",
    "new_prompt_id",
]
