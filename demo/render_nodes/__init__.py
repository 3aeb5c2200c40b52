"""A small node pack for demo and tests: slow "renders" that need no model, in the real ComfyUI and in the stand-in.

In ComfyUI pictures are torch tensors [batch, height, width, channels], in the stand-in numpy arrays of that shape;
everything here works on numpy and hands back what it was given. ``WFRECOVERY_MAKES`` says how many pictures a node
hands on, or how many files it writes: the recovery asks that of each class.

With ``WFR_RENDER_LOG`` in the environment every render that came to its end is one line of JSON in that file, so that
a test can count how often something was really rendered.
"""
# ruff: noqa: N802, PLC0415 - ComfyUI names the class methods; the libraries are loaded with the first picture

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

_FONTS = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "msyh.ttc", "PingFang.ttc", "DejaVuSans.ttf")
#: How often a slow node ticks: an interruption is noticed at the next tick.
_STEP = 0.1


def to_numpy(images: Any) -> Any:
    """A batch of pictures as a numpy array."""
    import numpy as np

    return images.cpu().numpy() if hasattr(images, "cpu") else np.asarray(images)


def like(array: Any, example: Any) -> Any:
    """The array as what the example is: a torch tensor or a numpy array."""
    if hasattr(example, "cpu"):
        return importlib.import_module("torch").from_numpy(array)
    return array


def spend(seconds: float) -> None:
    """Take time in small steps, ticking the progress bar (whose hook raises when the prompt was interrupted)."""
    steps = max(1, round(seconds / _STEP))
    bar = importlib.import_module("comfy.utils").ProgressBar(steps)
    for _ in range(steps):
        time.sleep(seconds / steps)
        bar.update(1)


def log_render(node: str, text: str) -> None:
    """Note a finished render, so that it is there even after a power cut."""
    file = os.environ.get("WFR_RENDER_LOG")
    if not file:
        return
    context = importlib.import_module("comfy_execution.utils").get_executing_context()
    line = {
        "node": node,
        "prompt_id": getattr(context, "prompt_id", None),
        "node_id": getattr(context, "node_id", None),
        "text": text,
        "at": time.time(),
    }
    # One write to a file opened for appending: lines of two processes do not mix.
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _picture(array: Any) -> Any:
    """One picture as a Pillow image."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.clip(array * 255.0, 0, 255).astype(np.uint8)).convert("RGB")


def _array(picture: Any) -> Any:
    import numpy as np

    return np.asarray(picture, np.float32) / 255.0


def _font(size: int) -> Any:
    """A font with Chinese letters where the system has one."""
    from PIL import ImageFont

    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


class WfrComposite:
    """Puts the product's picture onto the model's picture and writes the prompt below."""

    CATEGORY = "wfrecovery/demo"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "render"
    WFRECOVERY_MAKES = 1

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {
            "required": {
                "product": ("IMAGE",),
                "model": ("IMAGE",),
                "prompt": ("STRING", {"default": "", "multiline": True}),
                "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3600.0, "step": 0.1}),
            }
        }

    def render(self, product: Any, model: Any, prompt: str, seconds: float) -> tuple[Any]:
        """Render, slowly."""
        from PIL import ImageDraw

        spend(seconds)
        canvas = _picture(to_numpy(model)[0])
        width, height = canvas.size
        item = _picture(to_numpy(product)[0])
        item.thumbnail((max(1, width * 2 // 5), max(1, height * 2 // 5)))
        canvas.paste(item, (width - item.width - width // 20, height - item.height - height // 20))
        size = max(8, height // 16)
        ImageDraw.Draw(canvas).text((width // 40, height // 40), prompt, fill="white", font=_font(size))
        log_render("WfrComposite", prompt)
        return (like(_array(canvas)[None], model),)


class WfrAnimate:
    """Moves slowly into the picture."""

    CATEGORY = "wfrecovery/demo"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "render"
    WFRECOVERY_MAKES = "some"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {
            "required": {
                "image": ("IMAGE",),
                "frames": ("INT", {"default": 16, "min": 1, "max": 1000}),
                "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3600.0, "step": 0.1}),
            }
        }

    def render(self, image: Any, frames: int, seconds: float) -> tuple[Any]:
        """Render, slowly."""
        import numpy as np

        spend(seconds)
        picture = _picture(to_numpy(image)[0])
        # h264 takes even sizes only.
        size = (max(2, picture.width // 2 * 2), max(2, picture.height // 2 * 2))
        shots = []
        for number in range(frames):
            inset = 0.2 * number / max(frames - 1, 1)
            box = (picture.width * inset, picture.height * inset, picture.width, picture.height)
            shots.append(_array(picture.resize(size, box=box)))
        log_render("WfrAnimate", f"{frames} frames")
        return (like(np.stack(shots), image),)


class WfrSleep:
    """Hands on the picture after a while."""

    CATEGORY = "wfrecovery/demo"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "sleep"
    WFRECOVERY_MAKES = "same"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        seconds = {"default": 1.0, "min": 0.0, "max": 3600.0, "step": 0.1}
        return {"required": {"image": ("IMAGE",), "seconds": ("FLOAT", seconds)}}

    def sleep(self, image: Any, seconds: float) -> tuple[Any]:
        """Wait."""
        spend(seconds)
        return (image,)


class WfrFail:
    """Fails with the given words."""

    CATEGORY = "wfrecovery/demo"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "fail"
    WFRECOVERY_MAKES = "same"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"image": ("IMAGE",), "message": ("STRING", {"default": "boom"})}}

    def fail(self, image: Any, message: str) -> tuple[Any]:
        """Fail."""
        raise ValueError(message)


class WfrSlowSave:
    """Saves like SaveImage, then takes its time to say so: the file is whole, ComfyUI does not know it yet."""

    CATEGORY = "wfrecovery/demo"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True
    WFRECOVERY_MAKES = "each"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {
            "required": {
                "images": ("IMAGE",),
                "filename_prefix": ("STRING", {"default": "ComfyUI"}),
                "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3600.0, "step": 0.1}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save(
        self, images: Any, filename_prefix: str, seconds: float, prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Save, then wait."""
        folder_paths = importlib.import_module("folder_paths")
        pictures = to_numpy(images)
        height, width = pictures[0].shape[:2]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        saved = []
        for number, array in enumerate(pictures):
            file = f"{name}_{counter + number:05}_.png"
            _picture(array).save(Path(folder) / file, pnginfo=_metadata(prompt, extra_pnginfo), compress_level=4)
            saved.append({"filename": file, "subfolder": subfolder, "type": "output"})
        spend(seconds)
        return {"ui": {"images": saved}}


def _metadata(prompt: Any, extra_pnginfo: Any) -> Any:
    """The same tEXt chunks as SaveImage's."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    if prompt is not None:
        chunks.add_text("prompt", json.dumps(prompt))
    for key, value in (extra_pnginfo or {}).items():
        chunks.add_text(key, json.dumps(value))
    return chunks


NODE_CLASS_MAPPINGS: dict[str, type] = {
    class_.__name__: class_ for class_ in (WfrComposite, WfrAnimate, WfrSleep, WfrFail, WfrSlowSave)
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "WfrComposite": "Demo: Composite",
    "WfrAnimate": "Demo: Animate",
    "WfrSleep": "Demo: Sleep",
    "WfrFail": "Demo: Fail",
    "WfrSlowSave": "Demo: Slow Save",
}
