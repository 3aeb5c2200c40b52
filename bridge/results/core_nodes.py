"""What ComfyUI's own node classes make, read and run in ComfyUI 0.3.64 and 0.33.0: only what holds in both.

A class is meant by its name and the module that ComfyUI gives for it: a pack's class of the same name is another one.
None of these maps over a list, expands into other nodes or blocks what comes after it; what is not here may.
A number of pictures counts masks, sounds and the pictures that a latent decodes to as well. None: nobody can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

#: Asked for the frames of an input file, with the inputs of the node that loads it.
FramesOf = Callable[[Mapping[str, Any]], "int | None"]


def is_link(value: Any) -> TypeGuard[list[Any]]:
    """Whether an input's value is `[node id, output number]`, by ComfyUI's own rule."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


class Inputs:
    """The inputs of one node: its widgets, and how many pictures come in by its links."""

    def __init__(self, values: Mapping[str, Any], made: Mapping[str, int | None], frames_of: FramesOf | None) -> None:
        self.values, self._made, self._frames_of = values, made, frames_of

    def pictures(self, name: str) -> int | None:
        """As many as come in here."""
        value = self.values.get(name)
        return (self._made.get(value[0]) or None) if is_link(value) else None

    def all_pictures(self) -> list[int | None]:
        """As many as come in by each link that pictures come by."""
        made = [self._made.get(value[0]) for value in self.values.values() if is_link(value)]
        return [number for number in made if number != 0]

    def number(self, name: str, least: int = 1) -> int | None:
        """A widget's number; a linked one is known only when it runs."""
        value = self.values.get(name)
        return value if type(value) is int and value >= least else None

    def frames(self) -> int | None:
        """The frames of the file that the node loads."""
        frames = self._frames_of(self.values) if self._frames_of else None
        return frames if type(frames) is int and frames >= 1 else None


Rule = Callable[[Inputs], "int | None"]


def always(number: int | None) -> Rule:
    """This number, whatever comes in; None: some, but nobody can tell how many."""
    return lambda _: number


def same(name: str) -> Rule:
    """As many as come in there."""
    return lambda inputs: inputs.pictures(name)


def alike(*names: str) -> Rule:
    """As many as come in at each of them (without names: at each link); unknown when they differ."""

    def rule(inputs: Inputs) -> int | None:
        numbers = set(map(inputs.pictures, names) if names else inputs.all_pictures())
        return numbers.pop() if len(numbers) == 1 else None

    return rule


def _widget(name: str) -> Rule:
    return lambda inputs: inputs.number(name)


def _frames(inputs: Inputs) -> int | None:
    return inputs.frames()


def _one_of_one(rule: Rule) -> Rule:
    """One for one. Of several, some make one (a mask for all, the first frame), others as many or fewer."""
    return lambda inputs: 1 if rule(inputs) == 1 else None


def _sum(*names: str) -> Rule:
    def rule(inputs: Inputs) -> int | None:
        numbers = [inputs.pictures(name) for name in names]
        return None if None in numbers else sum(filter(None, numbers))

    return rule


def _most(first: str, second: str) -> Rule:
    """The shorter batch is repeated; the second one may be left out."""

    def rule(inputs: Inputs) -> int | None:
        numbers = [inputs.pictures(name) for name in (first, second) if name == first or name in inputs.values]
        return None if None in numbers else max(filter(None, numbers))

    return rule


def _times(name: str, amount: str) -> Rule:
    def rule(inputs: Inputs) -> int | None:
        number, times = inputs.pictures(name), inputs.number(amount)
        return None if number is None or times is None else number * times

    return rule


def _part(name: str) -> Rule:
    """`length` of them, from `batch_index` on. Below zero it means other things in other versions."""

    def rule(inputs: Inputs) -> int | None:
        number, start, length = inputs.pictures(name), inputs.number("batch_index", 0), inputs.number("length")
        if number is None or start is None or length is None:
            return None
        return min(length, number - min(number - 1, start))

    return rule


@dataclass(frozen=True)
class CoreNode:
    """How many pictures a node hands on (0: something else than pictures), and how many files an output node writes."""

    makes: Rule
    writes: Rule | None = None


def _saver(writes: Rule, passes_on: str) -> CoreNode:
    """Since 0.33.0 an output node hands on what it got."""
    return CoreNode(same(passes_on), writes)


def _same(name: str, *classes: str) -> dict[str, CoreNode]:
    return dict.fromkeys(classes, CoreNode(same(name)))


def _no_pictures(*classes: str) -> dict[str, CoreNode]:
    return dict.fromkeys(classes, CoreNode(always(0)))


_SOME: Final = CoreNode(always(None))
_BATCH: Final = CoreNode(_widget("batch_size"))
_ONE: Final = CoreNode(always(1))

#: Module, class, what it makes.
CORE_NODES: Final[Mapping[str, Mapping[str, CoreNode]]] = {
    "nodes": {
        **_no_pictures("CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "DualCLIPLoader", "VAELoader"),
        **_no_pictures("LoraLoader", "LoraLoaderModelOnly", "ControlNetLoader", "CLIPVisionLoader", "StyleModelLoader"),
        **_no_pictures("CLIPSetLastLayer", "CLIPTextEncode", "CLIPVisionEncode", "StyleModelApply", "ControlNetApply"),
        **_no_pictures("ControlNetApplyAdvanced", "ConditioningCombine", "ConditioningConcat", "ConditioningAverage"),
        **_no_pictures("ConditioningZeroOut", "ConditioningSetTimestepRange", "ConditioningSetMask"),
        "EmptyImage": _BATCH,
        "LoadImage": CoreNode(_frames),
        "LoadImageOutput": CoreNode(_frames),
        "LoadImageMask": CoreNode(_one_of_one(_frames)),
        **_same("image", "ImageScale", "ImageScaleBy", "ImageInvert"),
        "ImageBatch": CoreNode(_sum("image1", "image2")),
        "ImagePadForOutpaint": CoreNode(_one_of_one(same("image"))),
        "EmptyLatentImage": _BATCH,
        # A video model's VAE takes a batch for the frames of one video.
        **dict.fromkeys(("VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint"), CoreNode(_one_of_one(same("pixels")))),
        "InpaintModelConditioning": CoreNode(_one_of_one(same("pixels"))),
        **_same("latent_image", "KSampler", "KSamplerAdvanced"),
        **_same("samples", "VAEDecode", "VAEDecodeTiled", "LatentUpscale", "LatentUpscaleBy", "SetLatentNoiseMask"),
        "RepeatLatentBatch": CoreNode(_times("samples", "amount")),
        "LatentFromBatch": CoreNode(_part("samples")),
        "SaveImage": _saver(same("images"), "images"),
        "PreviewImage": _saver(always(0), "images"),
        "SaveLatent": _saver(always(1), "samples"),
    },
    "comfy_extras.nodes_audio": {
        "EmptyAudio": _ONE,
        "LoadAudio": _ONE,
        **dict.fromkeys(("SaveAudio", "SaveAudioMP3", "SaveAudioOpus"), _saver(same("audio"), "audio")),
        "PreviewAudio": _saver(always(0), "audio"),
    },
    "comfy_extras.nodes_canny": _same("image", "Canny"),
    "comfy_extras.nodes_cfg": _no_pictures("CFGNorm"),
    "comfy_extras.nodes_compositing": {
        # The shorter batch counts in the one version, the longer in the other.
        "JoinImageWithAlpha": CoreNode(alike("image", "alpha")),
        **_same("image", "SplitImageWithAlpha"),
    },
    "comfy_extras.nodes_custom_sampler": {
        **_no_pictures("KSamplerSelect", "BasicScheduler", "RandomNoise", "DisableNoise", "BasicGuider", "CFGGuider"),
        **_same("latent_image", "SamplerCustom", "SamplerCustomAdvanced"),
    },
    "comfy_extras.nodes_edit_model": _no_pictures("ReferenceLatent"),
    "comfy_extras.nodes_flux": {
        **_no_pictures("FluxGuidance", "CLIPTextEncodeFlux"),
        **_same("image", "FluxKontextImageScale"),
    },
    "comfy_extras.nodes_hunyuan": {"EmptyHunyuanLatentVideo": _SOME},
    "comfy_extras.nodes_images": {
        **_same("image", "ImageCrop", "ImageFlip", "ImageRotate", "ImageAddNoise", "ResizeAndPadImage"),
        **_same("image", "ImageScaleToMaxDimension"),
        "ImageFromBatch": CoreNode(_part("image")),
        "RepeatImageBatch": CoreNode(_times("image", "amount")),
        "ImageStitch": CoreNode(_most("image1", "image2")),
        **_no_pictures("GetImageSize"),
        "SaveAnimatedPNG": _saver(always(1), "images"),
        "SaveAnimatedWEBP": _saver(always(1), "images"),
    },
    "comfy_extras.nodes_lt": {
        "EmptyLTXVLatentVideo": _SOME,
        "LTXVImgToVideo": _SOME,
        **_no_pictures("LTXVConditioning", "LTXVScheduler"),
        **_same("image", "LTXVPreprocess"),
    },
    "comfy_extras.nodes_mask": {
        "SolidMask": _ONE,
        **_same("mask", "InvertMask", "GrowMask", "FeatherMask", "CropMask", "ThresholdMask", "MaskToImage"),
        **_same("image", "ImageToMask", "ImageColorToMask"),
        **_same("destination", "MaskComposite", "ImageCompositeMasked"),
        "MaskPreview": _saver(always(0), "mask"),
    },
    "comfy_extras.nodes_model_advanced": _no_pictures("ModelSamplingSD3", "ModelSamplingFlux", "ModelSamplingAuraFlow"),
    "comfy_extras.nodes_post_processing": {
        **_same("image", "ImageBlur", "ImageSharpen", "ImageQuantize", "ImageScaleToTotalPixels"),
        "ImageBlend": CoreNode(_most("image1", "image2")),
    },
    "comfy_extras.nodes_preview_any": {"PreviewAny": CoreNode(always(0), always(0))},
    "comfy_extras.nodes_primitive": _no_pictures(
        "PrimitiveBoolean", "PrimitiveFloat", "PrimitiveInt", "PrimitiveString", "PrimitiveStringMultiline"
    ),
    "comfy_extras.nodes_qwen": _no_pictures("TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus"),
    "comfy_extras.nodes_sd3": {"EmptySD3LatentImage": _BATCH},
    "comfy_extras.nodes_string": _no_pictures("StringConcatenate"),
    "comfy_extras.nodes_upscale_model": {
        **_no_pictures("UpscaleModelLoader"),
        **_same("image", "ImageUpscaleWithModel"),
    },
    "comfy_extras.nodes_video": {
        "LoadVideo": _SOME,
        "GetVideoComponents": _SOME,
        **_same("images", "CreateVideo"),
        "SaveVideo": _saver(always(1), "video"),
        "SaveWEBM": _saver(always(1), "images"),
    },
    "comfy_extras.nodes_wan": {
        **dict.fromkeys(("WanImageToVideo", "WanFirstLastFrameToVideo", "Wan22ImageToVideoLatent"), _SOME),
    },
}
