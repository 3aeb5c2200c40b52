"""What `main.py` and the plugin share. Imports nothing of ComfyUI."""

from .engines.chosen import engine_from
from .engines.comfyui import (
    ComfyUIClient,
    ComfyUIError,
    ComfyUIUnreachableError,
    PromptRefusedError,
    new_prompt_id,
)
from .engines.engine import Engine
from .engines.errors import (
    BusyError,
    EngineError,
    FileUnavailableError,
    NotSentError,
    RefusedError,
    RenderLimitError,
    UnreachableError,
)
from .engines.history import Place, ResultFile, Sighting
from .engines.recorded import recorded
from .engines.runninghub import CloudWorkflow, RunningHubClient
from .feishu.client import FeishuClient
from .feishu.errors import FeishuError, FeishuNotConfiguredError
from .feishu.publisher import FlushReport, Publisher
from .feishu.sheet import SheetLayoutError
from .recovery.decisions import Action
from .recovery.manager import TaskRecoveryManager
from .recovery.outcome import exit_code, failures
from .recovery.plan import PlannedTask, RecoveryPlan
from .running import run
from .settings import Columns, Settings, SettingsError, load_settings
from .table.cells import is_picture, picture_token
from .table.database import WorkflowDatabase
from .table.manager import DatabaseManager
from .table.records import Stage, TaskError, TaskRecord, WorkflowStatus, WorkflowType
from .table.rows import RowData
from .table.values import FeishuState
from .wording import Wording

__all__ = [
    "Action",
    "BusyError",
    "CloudWorkflow",
    "Columns",
    "ComfyUIClient",
    "ComfyUIError",
    "ComfyUIUnreachableError",
    "DatabaseManager",
    "Engine",
    "EngineError",
    "FeishuClient",
    "FeishuError",
    "FeishuNotConfiguredError",
    "FeishuState",
    "FileUnavailableError",
    "FlushReport",
    "NotSentError",
    "Place",
    "PlannedTask",
    "PromptRefusedError",
    "Publisher",
    "RecoveryPlan",
    "RefusedError",
    "RenderLimitError",
    "ResultFile",
    "RowData",
    "RunningHubClient",
    "Settings",
    "SettingsError",
    "SheetLayoutError",
    "Sighting",
    "Stage",
    "TaskError",
    "TaskRecord",
    "TaskRecoveryManager",
    "UnreachableError",
    "Wording",
    "WorkflowDatabase",
    "WorkflowStatus",
    "WorkflowType",
    "engine_from",
    "exit_code",
    "failures",
    "is_picture",
    "load_settings",
    "new_prompt_id",
    "picture_token",
    "recorded",
    "run",
]
