"""Node classes with the names, inputs and results of ComfyUI's own, for pictures and videos without a model.

A picture is a numpy array [batch, height, width, channels] of floats from 0 to 1 (a torch tensor in ComfyUI).
"""
# ruff: noqa: PLC0415 - numpy, Pillow and PyAV are loaded with the first picture: the host starts without them
# ruff: noqa: A002, N802 - the names of inputs and class methods are ComfyUI's

from __future__ import annotations

import hashlib
import random
import string
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from . import folder_paths
from .files import pictures_of, save_png, save_video

_MAX_RESOLUTION = 16384
_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
Picture = Any


class EmptyImage:
    """A picture of one colour."""

    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        size = {"default": 512, "min": 1, "max": _MAX_RESOLUTION, "step": 1}
        return {
            "required": {
                "width": ("INT", size),
                "height": ("INT", size),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
            }
        }

    def generate(self, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Picture]:
        """Make it."""
        import numpy as np

        channels = [((color >> shift) & 0xFF) / 0xFF for shift in (16, 8, 0)]
        return (np.broadcast_to(np.array(channels, np.float32), (batch_size, height, width, 3)).copy(),)


class LoadImage:
    """A picture from the input folder."""

    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        files = sorted(file.name for file in Path(folder_paths.get_input_directory()).iterdir() if file.is_file())
        return {"required": {"image": (files, {"image_upload": True})}}

    def load_image(self, image: str) -> tuple[Picture, Picture]:
        """Read it, all frames of it."""
        import numpy as np
        from PIL import Image, ImageOps, ImageSequence

        pictures: list[Any] = []
        masks: list[Any] = []
        with Image.open(folder_paths.get_annotated_filepath(image)) as file:
            for frame in ImageSequence.Iterator(file):
                turned = ImageOps.exif_transpose(frame)
                if pictures and (file.format == "MPO" or turned.size != pictures[0].shape[1::-1]):
                    continue
                pictures.append(np.asarray(turned.convert("RGB"), np.float32) / 255.0)
                mask = np.zeros((64, 64), np.float32)
                if "A" in turned.getbands():
                    mask = 1.0 - np.asarray(turned.getchannel("A"), np.float32) / 255.0
                masks.append(mask)
        return np.stack(pictures), np.stack(masks)

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        """The file's content is part of the signature."""
        return hashlib.sha256(Path(folder_paths.get_annotated_filepath(image)).read_bytes()).hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        """A file that is gone is refused with the prompt, not while it runs."""
        return folder_paths.exists_annotated_filepath(image) or f"Invalid image file: {image}"


class SaveImage:
    """Writes pictures into the output folder."""

    CATEGORY = "image"
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    def __init__(self) -> None:
        self.output_dir = folder_paths.get_output_directory()
        self.type = "output"
        self.prefix_append = ""
        self.compress_level = 4

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(
        self, images: Picture, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Write them; the graph and extra_pnginfo travel in the files."""
        height, width = images[0].shape[:2]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix + self.prefix_append, self.output_dir, width, height
        )
        written = []
        for number, picture in enumerate(pictures_of(images)):
            file = f"{name.replace('%batch_num%', str(number))}_{counter + number:05}_.png"
            save_png(picture, Path(folder) / file, prompt, extra_pnginfo, self.compress_level)
            written.append({"filename": file, "subfolder": subfolder, "type": self.type})
        return {"ui": {"images": written}}


class PreviewImage(SaveImage):
    """Writes pictures into the temp folder."""

    def __init__(self) -> None:
        super().__init__()
        self.output_dir = folder_paths.get_temp_directory()
        self.type = "temp"
        self.prefix_append = "_temp_" + "".join(random.choice(string.ascii_lowercase) for _ in range(5))
        self.compress_level = 1

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {
            "required": {"images": ("IMAGE",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }


class ImageScale:
    """Another size."""

    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        size = {"default": 512, "min": 0, "max": _MAX_RESOLUTION, "step": 1}
        return {
            "required": {
                "image": ("IMAGE",),
                "upscale_method": (_METHODS,),
                "width": ("INT", size),
                "height": ("INT", size),
                "crop": (["disabled", "center"],),
            }
        }

    def upscale(self, image: Picture, upscale_method: str, width: int, height: int, crop: str) -> tuple[Picture]:
        """Scale; 0 keeps the proportion."""
        if width == 0 and height == 0:
            return (image,)
        old_height, old_width = image.shape[1:3]
        width = width or max(1, round(old_width * height / old_height))
        height = height or max(1, round(old_height * width / old_width))
        return (_scaled(image, width, height, upscale_method, crop == "center"),)


class ImageBatch:
    """Two batches as one."""

    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "batch"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"image1": ("IMAGE",), "image2": ("IMAGE",)}}

    def batch(self, image1: Picture, image2: Picture) -> tuple[Picture]:
        """Join; the second takes the size of the first."""
        import numpy as np

        if image1.shape[1:] != image2.shape[1:]:
            image2 = _scaled(image2, image1.shape[2], image1.shape[1], "bilinear", True)
        return (np.concatenate((image1, image2)),)


def _scaled(images: Picture, width: int, height: int, method: str, center: bool) -> Picture:
    import numpy as np
    from PIL import Image

    filters = {
        "nearest-exact": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "area": Image.Resampling.BOX,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    old_height, old_width = images.shape[1:3]
    box = (0.0, 0.0, float(old_width), float(old_height))
    if center and old_width * height > old_height * width:
        spare = (old_width - old_height * width / height) / 2
        box = (spare, 0.0, old_width - spare, float(old_height))
    elif center:
        spare = (old_height - old_width * height / width) / 2
        box = (0.0, spare, float(old_width), old_height - spare)
    scaled = [
        np.asarray(Image.fromarray(one).resize((width, height), filters[method], box), np.float32) / 255.0
        for one in pictures_of(images)
    ]
    return np.stack(scaled)


@dataclass
class Video:
    """What CreateVideo hands on."""

    images: Picture
    fps: Fraction

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.images.shape[2]), int(self.images.shape[1])


class CreateVideo:
    """Pictures as a video."""

    CATEGORY = "image/video"
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "create"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {
            "required": {
                "images": ("IMAGE",),
                "fps": ("FLOAT", {"default": 30.0, "min": 1.0, "max": 120.0, "step": 1.0}),
            },
            "optional": {"audio": ("AUDIO",)},
        }

    def create(self, images: Picture, fps: float, audio: Any = None) -> tuple[Video]:
        """Make it; sound is left out here."""
        return (Video(images, Fraction(round(fps * 1000), 1000)),)


class SaveVideo:
    """Writes a video into the output folder."""

    CATEGORY = "image/video"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {
            "required": {
                "video": ("VIDEO",),
                "filename_prefix": ("STRING", {"default": "video/ComfyUI"}),
                "format": (["auto", "mp4"], {"default": "auto"}),
                "codec": (["auto", "h264"], {"default": "auto"}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save(
        self, video: Video, filename_prefix: str, format: str, codec: str, prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """Write it; as in ComfyUI it is shown under ``images``, and ``animated`` tells it from a picture."""
        width, height = video.get_dimensions()
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        file = f"{name}_{counter:05}_.mp4"
        save_video(video.images, video.fps, Path(folder) / file, prompt, extra_pnginfo)
        saved = {"filename": file, "subfolder": subfolder, "type": "output"}
        return {"ui": {"images": [saved], "animated": (True,)}}


#: By the module that ComfyUI gives for them.
_MODULES: dict[str, tuple[Any, ...]] = {
    "nodes": (EmptyImage, LoadImage, SaveImage, PreviewImage, ImageScale, ImageBatch),
    "comfy_extras.nodes_video": (CreateVideo, SaveVideo),
}
for _module, _classes in _MODULES.items():
    for _class in _classes:
        _class.RELATIVE_PYTHON_MODULE = _module
BUILTIN_NODES: dict[str, type] = {class_.__name__: class_ for classes in _MODULES.values() for class_ in classes}
DISPLAY_NAMES = {
    "LoadImage": "Load Image",
    "SaveImage": "Save Image",
    "PreviewImage": "Preview Image",
    "ImageScale": "Upscale Image",
    "ImageBatch": "Batch Images",
    "CreateVideo": "Create Video",
    "SaveVideo": "Save Video",
}
