"""Where `main.py` saves results: `<output>/img/<date>/产品_模特_时间.png`, `<output>/video/<date>/…`."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from ..inside import DEVICE
from ..table.records import TaskRecord, WorkflowType, parse_time

#: What Windows forbids in names, and what would be a path.
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
#: What may follow the last dot of a result's name; anything else comes from no saver.
_SUFFIX: Final = re.compile(r"\.[a-z0-9]{1,10}")
#: Bytes of one part of a name; file systems take 255 for the whole.
_PART_BYTES: Final = 80


def safe_part(text: str, fallback: str) -> str:
    """`text` as a part of a file name that every system takes."""
    text = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text)).strip(" .")
    text = text.encode("utf-8", "ignore")[:_PART_BYTES].decode("utf-8", "ignore").strip(" .")
    return f"_{text}" if DEVICE.fullmatch(text) else (text or fallback)


def result_path(output_dir: Path, task: TaskRecord, source_name: str, index: int) -> Path:
    """Where the `index`-th result of a task is saved.

    The time is the task's own, so that fetching again after a crash meets the same name.
    """
    made = datetime.fromtimestamp(parse_time(task.created_at)).astimezone()
    folder = "video" if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "img"
    product, model = safe_part(task.product_name, "产品"), safe_part(task.model_name, "模特")
    number = f"_{index + 1}" if index else ""
    stamp = f"{made:%Y%m%d_%H%M%S}_{made.microsecond // 1000:03}"
    suffix = PurePosixPath(source_name).suffix.lower()
    suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
    return output_dir / folder / f"{made:%Y-%m-%d}" / f"{product}_{model}_{stamp}{number}{suffix}"
