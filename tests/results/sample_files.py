"""Result files as ComfyUI's savers and common packs write them, small, with a tag where the format has a place."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest

av = pytest.importorskip("av")
numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
PngInfo = pytest.importorskip("PIL.PngImagePlugin").PngInfo

TASK, PROMPT = "img_20261123_001", "0b9e6a3c-3f0e-4d56-9a53-2f3a5c1d7e10"
TAG: Final = {"task_id": TASK, "prompt_id": PROMPT}
#: What ComfyUI hands to a saver beside the pictures.
GRAPH: Final = {"1": {"class_type": "SaveImage", "inputs": {"text": 'a "word" \\ 产品'}}}
Metadata = Mapping[str, Any]


def metadata(tag: Any = TAG) -> dict[str, Any]:
    """`prompt` and `extra_pnginfo`, as savers get them."""
    return {"prompt": GRAPH, "workflow": {"nodes": [], "extra": {"name": "产品"}}, "wfrecovery": tag}


def texts(data: Metadata) -> dict[str, str]:
    """Each value as JSON, as most savers write it."""
    return {key: json.dumps(value) for key, value in data.items()}


def pictures(count: int = 3) -> list[Any]:
    noise = numpy.random.default_rng(1)
    return [Image.fromarray(noise.integers(0, 255, (16, 16, 3), dtype=numpy.uint8)) for _ in range(count)]


def saved(kind: str, **options: Any) -> bytes:
    first, *others = pictures()
    buffer = io.BytesIO()
    if options.get("save_all"):
        options["append_images"] = others
    first.save(buffer, kind, **options)
    return buffer.getvalue()


# ------------------------------------------------------------------ pictures


def png(data: Metadata) -> bytes:
    info = PngInfo()
    for key, value in texts(data).items():
        info.add_text(key, value)
    return saved("PNG", pnginfo=info, compress_level=4)


def animated_png(data: Metadata) -> bytes:
    info = PngInfo()
    for key, value in texts(data).items():
        info.add(b"comf", key.encode("latin-1") + b"\0" + value.encode("latin-1"), after_idat=True)
    return saved("PNG", pnginfo=info, compress_level=4, save_all=True, duration=166)


def comfyui_exif(data: Metadata) -> Any:
    """`prompt:{…}` under Model, the others from Make downwards."""
    exif = Image.Exif()
    number = 0x010F
    for key, value in texts(data).items():
        if key == "prompt":
            exif[0x0110] = f"prompt:{value}"
        else:
            exif[number] = f"{key}:{value}"
            number -= 1
    return exif


def user_comment(text: bytes) -> Any:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = text
    return exif


def animated_webp(data: Metadata) -> bytes:
    return saved("WEBP", exif=comfyui_exif(data), save_all=True, duration=166, lossless=True)


def jpeg(data: Metadata) -> bytes:
    text = b"UNICODE\0" + json.dumps(data).encode("utf-16-be")
    return saved("JPEG", quality=90, progressive=True, exif=user_comment(text))


def avif(data: Metadata) -> bytes:
    return saved("AVIF", exif=user_comment(b"ASCII\0\0\0" + json.dumps(data).encode()).tobytes(), speed=10)


def gif(data: Metadata) -> bytes:
    return saved("GIF", save_all=True, duration=166, comment=json.dumps(data).encode())


def tiff(data: Metadata) -> bytes:
    return saved("TIFF", description=json.dumps(data))


def tiff_packed(data: Metadata) -> bytes:
    return saved("TIFF", description=json.dumps(data), compression="tiff_lzw")


def bmp(data: Metadata) -> bytes:
    del data  # it has no place for them
    return saved("BMP")


def exr(data: Metadata) -> bytes:
    """As SaveImageAdvanced: attributes in the header, and the table behind it moved accordingly."""
    codec = av.CodecContext.create("exr", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 16, 16, "gbrpf32le", Fraction(1)
    picture = numpy.random.default_rng(1).random((16, 16, 3), dtype=numpy.float32)
    frame = av.VideoFrame.from_ndarray(picture, format="gbrpf32le")
    frame.pts = 0
    content = b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
    added = b"".join(
        key.encode() + b"\0string\0" + struct.pack("<i", len(value)) + value.encode()
        for key, value in texts(data).items()
    )
    end = 8
    while content[end]:
        start = content.index(b"\0", content.index(b"\0", end) + 1) + 1
        end = start + 4 + struct.unpack("<i", content[start : start + 4])[0]
    (first,) = struct.unpack("<Q", content[end + 1 : end + 9])
    count = (first - end - 1) // 8
    table = struct.unpack(f"<{count}Q", content[end + 1 : first])
    moved = struct.pack(f"<{count}Q", *(place + len(added) for place in table))
    return content[:end] + added + b"\0" + moved + content[first:]


# ------------------------------------------------------------------ films and sound


def film(
    data: Mapping[str, str],
    kind: str,
    codec: str = "mpeg4",
    *,
    frames: int = 3,
    options: dict[str, str] | None = None,
    into: str | None = None,
) -> bytes:
    """What PyAV writes, into a file or into a buffer in which it can go back."""
    buffer, noise = io.BytesIO(), numpy.random.default_rng(1)
    with av.open(into or buffer, "w", format=kind, options=options or {}) as container:
        for key, value in data.items():
            container.metadata[key] = value
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for number in range(frames):
            picture = noise.integers(0, 255, (16, 16, 3), dtype=numpy.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def sound(data: Mapping[str, str], kind: str, codec: str, *, rate: int = 48000, seconds: float = 0.1) -> bytes:
    buffer = io.BytesIO()
    noise = numpy.random.default_rng(1).standard_normal((1, 2 * int(rate * seconds))) * 0.2
    with av.open(buffer, "w", format=kind) as container:
        for key, value in data.items():
            container.metadata[key] = value
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(noise.astype(numpy.float32), format="flt", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def mp4(data: Metadata) -> bytes:
    return film(texts(data), "mp4", options={"movflags": "use_metadata_tags"})


def mp4_index_first(data: Metadata, frames: int = 3) -> bytes:
    """As since 0.33: the index is moved to the front when all is written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mp4")
        options = {"movflags": "use_metadata_tags+faststart"}
        film(texts(data), "mp4", frames=frames, options=options, into=str(path))
        return path.read_bytes()


def mp4_in_fragments(data: Metadata) -> bytes:
    flags = "use_metadata_tags+frag_keyframe+empty_moov"
    return film(texts(data), "mp4", frames=14, options={"movflags": flags})


def mp4_with_comment(data: Metadata) -> bytes:
    """As VideoHelperSuite did: all of it in one comment, the graph as text inside it."""
    comment = json.dumps({**data, "prompt": json.dumps(data["prompt"])})
    return film({"comment": comment}, "mp4", options={"movflags": "use_metadata_tags"})


def m4a(data: Metadata) -> bytes:
    return sound({"comment": json.dumps(data)}, "ipod", "aac")


def mov(data: Metadata) -> bytes:
    return film({"comment": json.dumps(data)}, "mov")


def webm(data: Metadata) -> bytes:
    return film(texts(data), "webm", "libvpx-vp9")


def mkv(data: Metadata) -> bytes:
    return film(texts(data), "matroska")


def avi(data: Metadata) -> bytes:
    return film({"comment": json.dumps(data)}, "avi")


def flac(data: Metadata) -> bytes:
    return sound(texts(data), "flac", "flac", rate=44100)


def mp3(data: Metadata) -> bytes:
    return sound(texts(data), "mp3", "libmp3lame", rate=44100)


def opus(data: Metadata) -> bytes:
    return sound(texts(data), "opus", "libopus")


def ogg(data: Metadata) -> bytes:
    return sound(texts(data), "ogg", "flac")


def wav(data: Metadata) -> bytes:
    return sound({"comment": json.dumps(data)}, "wav", "pcm_s16le", seconds=0.02)


# ------------------------------------------------------------------ what is neither


def glb(data: Metadata) -> bytes:
    """As SaveGLB: each value as text in the extras of the asset."""
    text = json.dumps({"asset": {"version": "2.0", "extras": texts(data)}, "buffers": [{"byteLength": 8}]}).encode()
    text += b" " * (-len(text) % 4)
    content = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", 8, b"BIN\0") + bytes(8)
    return b"glTF" + struct.pack("<II", 2, 12 + len(content)) + content


def latent(data: Metadata) -> bytes:
    """As SaveLatent, in the format of safetensors."""
    head: dict[str, Any] = {"__metadata__": texts(data)}
    head["latent_tensor"] = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(16))


def svg(data: Metadata) -> bytes:
    text = json.dumps(data, indent=2)
    return f'<svg viewBox="0 0 1 1">\n  <metadata>\n<![CDATA[\n{text}\n]]>\n</metadata><path d="M0 0"/></svg>'.encode()


#: Name of the format, suffix of its files, and who writes one; the names of those without a kind are None.
SAMPLES: Final[Mapping[str, tuple[str | None, str, Callable[[Metadata], bytes]]]] = {
    "png": ("png", ".png", png),
    "png-animated": ("png", ".png", animated_png),
    "webp-animated": ("webp", ".webp", animated_webp),
    "jpeg": ("jpeg", ".jpg", jpeg),
    "avif": ("avif", ".avif", avif),
    "gif": ("gif", ".gif", gif),
    "tiff": ("tiff", ".tiff", tiff),
    "tiff-packed": ("tiff", ".tiff", tiff_packed),
    "bmp": ("bmp", ".bmp", bmp),
    "mp4": ("mp4", ".mp4", mp4),
    "mp4-index-first": ("mp4", ".mp4", mp4_index_first),
    "mp4-fragments": ("mp4", ".mp4", mp4_in_fragments),
    "mp4-comment": ("mp4", ".mp4", mp4_with_comment),
    "mov": ("mov", ".mov", mov),
    "webm": ("webm", ".webm", webm),
    "mkv": ("mkv", ".mkv", mkv),
    "avi": ("avi", ".avi", avi),
    "m4a": ("m4a", ".m4a", m4a),
    "flac": ("flac", ".flac", flac),
    "mp3": ("mp3", ".mp3", mp3),
    "opus": ("opus", ".opus", opus),
    "ogg": ("ogg", ".ogg", ogg),
    "wav": ("wav", ".wav", wav),
    "exr": (None, ".exr", exr),
    "glb": (None, ".glb", glb),
    "latent": (None, ".latent", latent),
    "svg": (None, ".svg", svg),
}
_MADE: dict[str, bytes] = {}


def sample(name: str) -> bytes:
    """The bytes of one, with the usual tag."""
    if name not in _MADE:
        _MADE[name] = SAMPLES[name][2](metadata())
    return _MADE[name]


# ------------------------------------------------------------------ built by hand


def outer(content: bytes) -> dict[bytes, bytes]:
    """The outermost boxes of an MP4, in their order."""
    found, position = {}, 0
    while position < len(content):
        size, kind = struct.unpack(">I4s", content[position : position + 8])
        found[kind] = content[position : position + size]
        position += size
    return found


def box(kind: bytes, content: bytes = b"") -> bytes:
    """One box of MP4."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def png_of(chunks: Iterable[tuple[bytes, bytes]], behind: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A picture with these parts before the pixels, and these behind them."""
    plain = saved("PNG")
    end = plain.index(b"IDAT") - 4
    tail = len(plain) - 12
    before, after = (b"".join(png_chunk(*chunk) for chunk in parts) for parts in (chunks, behind))
    return plain[:end] + before + plain[end:tail] + after + plain[tail:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One part of a PNG."""
    return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))
