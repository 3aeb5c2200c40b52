"""What `main.py` and the plugin share. Imports nothing of ComfyUI."""

from .comfyui_client import (
    ComfyUIClient,
    ComfyUIError,
    ComfyUIUnreachableError,
    PromptRefusedError,
    WorkflowClient,
    new_prompt_id,
)
from .database_manager import DatabaseManager
from .feishu_client import FeishuClient
from .feishu_errors import FeishuError, FeishuNotConfiguredError
from .history import Place, ResultFile, Sighting
from .publisher import FlushReport, Publisher
from .records import FeishuState, RowData, Stage, TaskError, TaskRecord, WorkflowStatus, WorkflowType
from .settings import Columns, Settings, SettingsError, load_settings
from .task_recovery import TaskRecoveryManager
from .workflow_database import WorkflowDatabase

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
