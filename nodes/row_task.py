"""*Row Task*: says in the graph which row of the sheet a prompt is for."""

from __future__ import annotations

from typing import Any

from ..bridge.file_names import safe_part
from ..bridge.records import WorkflowType


class RowTask:
    """Passes its image on, and hands on a file-name prefix in the house style (img/产品_模特).

    The recorder reads the widgets from the graph; running the node has no effect on the record.
    """

    NAME = "WfrecoveryRowTask"
    TITLE = "Row Task"
    CATEGORY = "wfrecovery"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "filename_prefix")
    DESCRIPTION = "Ties this prompt to a row of the Feishu sheet, so that the result is recovered and pushed there."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {
            "required": {
                "row_number": ("INT", {"default": 2, "min": 1, "max": 1_000_000}),
                "product_name": ("STRING", {"default": ""}),
                "model_name": ("STRING", {"default": ""}),
                "workflow_type": ([item.value for item in WorkflowType],),
            },
            "optional": {"image": ("IMAGE",)},
        }

    def run(
        self, row_number: int, product_name: str, model_name: str, workflow_type: str, image: Any = None
    ) -> tuple[Any, str]:
        folder = "video" if workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "img"
        name = f"{safe_part(product_name, '产品')}_{safe_part(model_name, '模特')}"
        return image, f"{folder}/row{row_number}_{name}"
