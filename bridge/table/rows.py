"""A row of the sheet as programs hand it on."""

from __future__ import annotations

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
