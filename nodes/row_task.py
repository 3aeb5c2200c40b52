"""*Row Task*: says in the graph which row of the sheet a prompt is for."""

from __future__ import annotations

from typing import Any

from ..bridge.results.file_names import safe_part
from ..bridge.table.records import WorkflowType

#: ComfyUI's savers fill these in when they write. The node itself knows no time: its outputs depend on its inputs
#: alone, so that ComfyUI's cache works on them, and a row that is queued again is not rendered again for its name.
_DAY = "%year%-%month%-%day%"
_TIME = "%year%%month%%day%_%hour%%minute%%second%"


class RowTask:
    """Passes its image on, and hands on a file-name prefix in the house style (img/日期/产品_模特_时间).

    The recorder reads the widgets from the graph; running the node has no effect on the record.
    """

    NAME = "WfrecoveryRowTask"
    TITLE = "Row Task"
    CATEGORY = "wfrecovery"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "STRING", "STRING")
    RETURN_NAMES = ("image", "filename_prefix", "prompt")
    DESCRIPTION = "Ties this prompt to a row of the Feishu sheet, so that the result is recovered and pushed there."
    #: Says to the recovery that it is no node that multiplies pictures.
    WFRECOVERY_MAKES = "same"
    SEARCH_ALIASES = ("feishu", "lark", "飞书", "sheet", "row", "恢复")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        # Saved workflows hold the widgets' values by position: new ones come last.
        return {
            "required": {
                "row_number": ("INT", {"default": 2, "min": 1, "max": 1_000_000}),
                "product_name": ("STRING", {"default": ""}),
                "model_name": ("STRING", {"default": ""}),
                "workflow_type": ([item.value for item in WorkflowType],),
            },
            "optional": {
                "image": ("IMAGE",),
                "prompt": ("STRING", {"default": "", "multiline": True}),
                # what scripts fill in, and people whose cells hold a file's name
                "product_image": ("STRING", {"default": "", "advanced": True}),
                "model_image": ("STRING", {"default": "", "advanced": True}),
            },
        }

    def run(
        self,
        *,
        row_number: int,  # noqa: ARG002 - read from the graph by the recorder
        product_name: str,
        model_name: str,
        workflow_type: str,
        image: Any = None,
        prompt: str = "",
        product_image: str = "",  # noqa: ARG002 - the same
        model_image: str = "",  # noqa: ARG002
    ) -> tuple[Any, str, str]:
        """The image, a prefix for the saver, and the row's prompt (提示词) for the nodes that want it."""
        folder = "video" if workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "img"
        name = f"{safe_part(product_name, '产品')}_{safe_part(model_name, '模特')}"
        return image, f"{folder}/{_DAY}/{name}_{_TIME}", prompt
