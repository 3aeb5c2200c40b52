"""A row of the sheet as programs hand it on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RowData:
    """One row of the sheet, read by column title."""

    #: 1-based, as Feishu shows it
    row_number: int
    #: picture: a file token, a path or a link, as the cell holds it
    product_image: Any = None
    model_image: Any = None
    prompt: str = ""
    #: 图片是否已处理
    status: str = ""
    #: 产品模特合成图
    composite_image: Any = None
    product_name: str = ""
    model_name: str = ""
    #: 视频是否已实现
    video_status: str = ""
    #: every titled cell of the row, as it was read
    original_data: dict[str, Any] = field(default_factory=dict)
    #: 任务号: the numbers of its tasks, where the sheet has that column
    task_number: str = ""
    #: when the reading began, in seconds since the epoch; 0: a team's own, of which that is not known
    read_at: float = field(default=0.0, compare=False, repr=False)


def row_data_of(value: Any) -> RowData:
    """A row in a team's own form: a mapping, or any object, by the names of RowData. What it has besides stays out."""
    if isinstance(value, RowData):
        return value
    names = [item.name for item in dataclasses.fields(RowData)]
    if isinstance(value, Mapping):
        found = {name: value[name] for name in names if name in value}
    else:
        found = {name: getattr(value, name) for name in names if hasattr(value, name)}
    given = {name: item for name, item in found.items() if item is not None}
    return RowData(**{"row_number": None, **given})


def number_of(row: Any) -> int:
    """The number of a row in a team's own form."""
    return row_data_of(row).row_number
