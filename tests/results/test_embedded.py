"""Whose a file is: its tag is found wherever a saver put it, and never a tag that is another file's."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_files import (
    GRAPH,
    PROMPT,
    SAMPLES,
    TAG,
    TASK,
    Image,
    PngInfo,
    box,
    comfyui_exif,
    film,
    metadata,
    outer,
    png,
    png_of,
    sample,
    saved,
    sound,
    texts,
    user_comment,
)

from wfrecovery.bridge.results.embedded import Tag, embedded_tag

OURS = Tag(TASK, PROMPT)
OLDER = {"task_id": "img_20260101_007", "prompt_id": "11111111-2222-4333-8444-555555555555"}
#: A workflow that was loaded from an older picture.
LOADED = {"nodes": [{"widgets_values": [json.dumps({"wfrecovery": OLDER})]}], "extra": {"wfrecovery": OLDER}}


@pytest.fixture
def tag_of(tmp_path: Path) -> Callable[[bytes], Tag | None]:
    """The tag in a file with this content, whose name says nothing."""
    path = tmp_path / "a.bin"

    def read(content: bytes) -> Tag | None:
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        return embedded_tag(path)

    return read


TagOf = Callable[[bytes], Tag | None]


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"bmp"}))
def test_the_tag_is_found_in_every_format(name: str, tag_of: TagOf) -> None:
    make = SAMPLES[name][2]
    assert tag_of(make(metadata())) == OURS
    assert tag_of(make(metadata({**TAG, "run": 2}))) == Tag(TASK, PROMPT, 2)
    assert tag_of(make({"prompt": GRAPH, "workflow": {}})) is None
    assert tag_of(make({**metadata(), "workflow": LOADED})) == OURS
    assert tag_of(make({"prompt": GRAPH, "workflow": LOADED})) is None, "the tag of an older file is no tag of this one"


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"bmp"}))
def test_a_file_that_is_still_being_written_says_nothing_wrong(name: str, tag_of: TagOf) -> None:
    content = sample(name)
    for length in range(0, len(content), max(len(content) // 50, 1)):
        assert tag_of(content[:length]) in (None, OURS)


def test_what_cannot_be_read_has_no_tag(tmp_path: Path) -> None:
    assert embedded_tag(tmp_path) is None
    assert embedded_tag(tmp_path / "absent.png") is None
    assert embedded_tag(Path("a\0b")) is None


# ------------------------------------------------------------------ what a tag may look like


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TAG, sort_keys=True),
        json.dumps(TAG, indent=2),
        json.dumps(TAG, separators=(",", ":")),
        json.dumps({"note": "产品 {}", **TAG}, ensure_ascii=False),
        json.dumps(json.dumps(TAG)),
        json.dumps(json.dumps(json.dumps(TAG))),
        json.dumps(TAG).replace('"', '\\"'),
        json.dumps(TAG).replace('"', "&quot;"),
        json.dumps(TAG) + "\0",
        " \n" + json.dumps(TAG) + "\n",
    ],
)
def test_a_tag_is_read_however_it_is_spelled(text: str, tag_of: TagOf) -> None:
    assert tag_of(png_of([(b"iTXt", b"wfrecovery\0\0\0\0\0" + text.encode())])) == OURS
    for wrapped in (f'{{"wfrecovery": {json.dumps(text)}}}', f"wfrecovery: {text}"):
        assert tag_of(png_of([(b"iTXt", b"comment\0\0\0\0\0" + wrapped.encode())])) == OURS


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "no json",
        None,
        [],
        5,
        {},
        "a",
        {"task_id": TASK},
        {"prompt_id": PROMPT},
        {"task_id": "../../etc/passwd", "prompt_id": PROMPT},
        {"task_id": TASK, "prompt_id": "p1"},
        {"task_id": TASK, "prompt_id": PROMPT.upper()},
        {"task_id": TASK, "prompt_id": None},
        {"task_id": [TASK], "prompt_id": PROMPT},
        {**TAG, "run": "2"},
        {**TAG, "run": True},
        {**TAG, "run": 1.5},
    ],
)
def test_a_strange_tag_is_nobodys(tag: Any, tag_of: TagOf) -> None:
    assert tag_of(png(metadata(tag))) is None
    assert tag_of(film({"comment": json.dumps(metadata(tag))}, "mp4")) is None


def test_the_tag_under_its_own_name_wins(tag_of: TagOf) -> None:
    own = png_of([(b"tEXt", b"wfrecovery\0" + json.dumps(TAG).encode())])
    assert tag_of(own) == OURS
    older = json.dumps({"wfrecovery": OLDER}).encode()
    for key in (b"comment", b"workflow", b"prompt", b"parameters"):
        for order in (1, -1):
            parts = [(b"tEXt", key + b"\0" + older), (b"tEXt", b"wfrecovery\0" + json.dumps(TAG).encode())]
            assert tag_of(png_of(parts[::order])) == OURS
    deeper = {"a": {"wfrecovery": OLDER}, "wfrecovery": TAG}
    assert tag_of(png_of([(b"tEXt", b"comment\0" + json.dumps(deeper).encode())])) == OURS


def test_of_two_tags_that_are_as_sure_none_counts(tag_of: TagOf) -> None:
    both = [(b"tEXt", b"wfrecovery\0" + json.dumps(tag).encode()) for tag in (TAG, OLDER)]
    assert tag_of(png_of(both)) is None
    assert tag_of(png_of(both[:1] * 2)) == OURS, "twice the same"
    runs = [(b"tEXt", b"wfrecovery\0" + json.dumps({**TAG, "run": run}).encode()) for run in (1, 2)]
    assert tag_of(png_of(runs)) is None
    lists = json.dumps({"all": [{"wfrecovery": TAG}, {"wfrecovery": OLDER}]})
    assert tag_of(png_of([(b"tEXt", b"comment\0" + lists.encode())])) is None


def test_a_text_that_is_no_json_is_searched_all_the_same(tag_of: TagOf) -> None:
    for text in (
        "a cat {blue|red}, <lora:x:1>\nSteps: 20, wfrecovery: " + json.dumps(TAG) + ", Version: ComfyUI",
        '{"prompt": {"1": {}}, "wfrecovery": ' + json.dumps(TAG) + ', "workflow": {"nodes": [1, 2',
        "prompt:" + json.dumps(GRAPH) + "\nworkflow:" + json.dumps(LOADED) + "\nwfrecovery:" + json.dumps(TAG),
        '<x:xmpmeta><rdf:Description wf:wfrecovery="' + json.dumps(TAG).replace('"', "&quot;") + '"/></x:xmpmeta>',
        "<wf:workflow>{}</wf:workflow><wf:wfrecovery>" + json.dumps(TAG) + "</wf:wfrecovery>",
        "<dc:description>" + json.dumps(metadata()).replace("&", "&amp;").replace('"', "&quot;") + "</dc:description>",
        "{" * 3000 + '"wfrecovery": ' + json.dumps(TAG),
    ):
        assert tag_of(png_of([(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text.encode())])) == OURS, text[:60]


def test_a_whole_text_may_be_escaped_once_more(tag_of: TagOf) -> None:
    inner = json.dumps({**metadata(), "prompt": json.dumps(GRAPH)}, indent=1)
    for text in (inner, json.dumps(inner), json.dumps(inner)[1:-1], json.dumps(json.dumps(inner))):
        assert tag_of(film({"comment": text}, "mp4", options={"movflags": "use_metadata_tags"})) == OURS
        assert tag_of(film({"comment": text}, "matroska")) == OURS


# ------------------------------------------------------------------ PNG


def test_every_kind_of_png_text_is_read_before_and_after_the_pixels(tag_of: TagOf) -> None:
    text = json.dumps(TAG).encode()
    parts = [
        (b"tEXt", b"wfrecovery\0" + text),
        (b"zTXt", b"wfrecovery\0\0" + zlib.compress(text)),
        (b"iTXt", b"wfrecovery\0\0\0zh\0\xe4\xba\xa7\0" + text),
        (b"iTXt", b"wfrecovery\0\1\0\0\0" + zlib.compress(text)),
        (b"comf", b"wfrecovery\0" + text),
        (b"eXIf", comfyui_exif(metadata()).tobytes()[6:]),
        (b"eXIf", user_comment(b"ASCII\0\0\0" + json.dumps(metadata()).encode()).tobytes()),
    ]
    for part in parts:
        assert tag_of(png_of([part])) == OURS, part
        assert tag_of(png_of([], [part])) == OURS, part
    assert tag_of(png_of([(b"zTXt", b"wfrecovery\0\0no zlib"), parts[0]])) == OURS
    assert tag_of(png_of([(b"IDAT", b"wfrecovery\0" + text)])) is None


def test_a_task_is_read_from_what_pillow_writes(tag_of: TagOf) -> None:
    info = PngInfo()
    info.add_itxt("wfrecovery", json.dumps({**TAG, "note": "产品"}, ensure_ascii=False), zip=True)
    assert tag_of(saved("PNG", pnginfo=info)) == OURS


# ------------------------------------------------------------------ Exif: JPEG, WebP, AVIF, TIFF

COMMENTS = {
    "ascii": b"ASCII\0\0\0" + json.dumps(metadata()).encode(),
    "unicode, most significant byte first": b"UNICODE\0" + json.dumps(metadata()).encode("utf-16-be"),
    "unicode, least significant byte first": b"UNICODE\0" + json.dumps(metadata()).encode("utf-16-le"),
    "unicode with a mark": b"UNICODE\0" + json.dumps(metadata(), ensure_ascii=False).encode("utf-16"),
    "utf-8 under no name": bytes(8) + json.dumps(metadata(), ensure_ascii=False).encode(),
    "a1111": b"UNICODE\0" + ("产品, a cat\nSteps: 20\nwfrecovery: " + json.dumps(TAG)).encode("utf-16-be"),
}


@pytest.mark.parametrize("name", COMMENTS)
def test_user_comments_are_read_in_every_code(name: str, tag_of: TagOf) -> None:
    exif = user_comment(COMMENTS[name]).tobytes()
    for kind in ("JPEG", "WEBP", "AVIF", "PNG"):
        assert tag_of(saved(kind, exif=exif)) == OURS, kind


def test_exif_as_comfyui_and_as_packs_write_it(tag_of: TagOf) -> None:
    exif = comfyui_exif(metadata()).tobytes()
    for kind in ("JPEG", "WEBP"):
        assert tag_of(saved(kind, exif=exif)) == OURS, kind
    described = Image.Exif()
    described[0x010E] = "Workflow: " + json.dumps(metadata()["workflow"])
    described[0x9C9C] = json.dumps(metadata()).encode("utf-16-le")  # XPComment
    assert tag_of(saved("JPEG", exif=described)) == OURS
    broken = b"Exif\0\0MM\0*\xff\xff\xff\xff" + b'{"wfrecovery": ' + json.dumps(TAG).encode() + b"}"
    assert tag_of(saved("WEBP", exif=broken)) == OURS, "a block that is no Exif is searched as it is"


def test_xmp_and_comments_are_read(tag_of: TagOf) -> None:
    packet = b"<x:xmpmeta><wf:wfrecovery>" + json.dumps(TAG).encode() + b"</wf:wfrecovery></x:xmpmeta>"
    assert tag_of(saved("WEBP", xmp=packet)) == OURS
    assert tag_of(saved("JPEG", xmp=packet)) == OURS
    assert tag_of(saved("JPEG", comment=json.dumps(metadata()).encode())) == OURS
    plain, text = saved("JPEG"), json.dumps(metadata()).encode()
    pieces = [text[place : place + 100] for place in range(0, len(text), 100)]
    marks = b"".join(b"\xff\xfe" + struct.pack(">H", len(piece) + 2) + piece for piece in pieces)
    assert tag_of(plain[:2] + marks + plain[2:]) == OURS, "one text in several comments"
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">I", len(packet))
    pieces = [head + struct.pack(">I", place) + packet[place : place + 50] for place in range(0, len(packet), 50)]
    marks = b"".join(b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece for piece in reversed(pieces))
    assert tag_of(plain[:2] + marks + plain[2:]) == OURS, "a long packet in pieces"


# ------------------------------------------------------------------ films


def test_films_carry_it_in_several_ways(tag_of: TagOf) -> None:
    text = json.dumps(metadata())
    for kind in ("mp4", "mov", "matroska", "webm", "avi"):
        codec = "libvpx-vp9" if kind == "webm" else "mpeg4"
        assert tag_of(film({"comment": text}, kind, codec)) == OURS, kind
    for name in ("wfrecovery", "WFRECOVERY", "WfRecovery"):
        tags = {"movflags": "use_metadata_tags"}
        assert tag_of(film({name: json.dumps(TAG)}, "mp4", options=tags)) == OURS, name
        assert tag_of(film({name: json.dumps(TAG)}, "mov", options=tags)) == OURS, name


def test_names_of_ones_own_and_xmp_in_mp4(tag_of: TagOf) -> None:
    parts = outer(film({}, "mp4"))
    data = box(b"data", bytes(8) + json.dumps(TAG).encode())
    item = box(b"----", box(b"mean", bytes(4) + b"com.a") + box(b"name", bytes(4) + b"wfrecovery") + data)
    free_form = box(b"udta", box(b"meta", bytes(4) + box(b"hdlr", bytes(25)) + box(b"ilst", item)))
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<wfrecovery>" + json.dumps(TAG).encode()
    for inner in (free_form, box(b"meta", box(b"hdlr", bytes(25)) + box(b"ilst", item))):
        index = box(b"moov", parts[b"moov"][8:] + inner)
        assert tag_of(parts[b"ftyp"] + parts[b"mdat"] + index) == OURS
    assert tag_of(b"".join(parts.values()) + box(b"uuid", xmp)) == OURS
    short = struct.pack(">HH", len(xmp) - 16, 0) + xmp[16:]
    index = box(b"moov", parts[b"moov"][8:] + box(b"trak", box(b"udta", box(b"\xa9cmt", short))))
    assert tag_of(parts[b"ftyp"] + parts[b"mdat"] + index) == OURS


def test_what_looks_like_a_tag_among_the_pixels_is_none(tag_of: TagOf) -> None:
    text = b'{"wfrecovery": ' + json.dumps(TAG).encode() + b"}"
    assert tag_of(box(b"ftyp", b"isom\0\0\0\0") + box(b"mdat", text) + box(b"moov", box(b"udta"))) is None
    assert tag_of(saved("BMP")[:54] + text) is None
    plain = film({}, "matroska")
    place = plain.index(b"\x1f\x43\xb6\x75")
    assert tag_of(plain[: place + 12] + text + plain[place + 12 :]) is None


# ------------------------------------------------------------------ sound


def test_sound_carries_it_in_several_ways(tag_of: TagOf) -> None:
    for kind, codec in (("flac", "flac"), ("opus", "libopus"), ("ogg", "flac"), ("mp3", "libmp3lame")):
        assert tag_of(sound({"comment": json.dumps(metadata())}, kind, codec)) == OURS, kind
        assert tag_of(sound({"WFRECOVERY": json.dumps(TAG)}, kind, codec)) == OURS, kind


@pytest.mark.parametrize("before", [10, 254, 255, 256, 65_000, 65_024, 65_025, 65_026, 130_000])
def test_comments_of_ogg_may_go_over_many_pages(before: int, tag_of: TagOf) -> None:
    content = sound(
        {"filler": "x" * before, **texts(metadata()), "more": "y" * 70_000}, "opus", "libopus", seconds=0.02
    )
    assert content.count(b"OggS") > 3
    assert tag_of(content) == OURS


def test_a_tag_that_is_split_between_two_pages_of_ogg_is_found(tag_of: TagOf) -> None:
    for before in range(64_600, 65_025, 25):
        content = sound({"a": "x" * before, "wfrecovery": json.dumps(TAG)}, "ogg", "libopus", seconds=0.02)
        assert tag_of(content) == OURS


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize(("number", "code"), [(0, "latin-1"), (1, "utf-16"), (2, "utf-16-be"), (3, "utf-8")])
def test_id3_is_read_in_every_version_and_code(version: int, number: int, code: str, tag_of: TagOf) -> None:
    text = "wfrecovery\0".encode(code) + json.dumps(TAG).encode(code)
    name = b"TXX" if version == 2 else b"TXXX"
    for filler in (b"", b"TIT2" if version > 2 else b"TT2"):
        frames = id3_frame(filler, b"\0" + b"t" * 300, version) if filler else b""
        frames += id3_frame(name, bytes([number]) + text, version) + bytes(20)
        head = b"ID3" + bytes([version, 0, 0]) + seven_bits(len(frames))
        assert tag_of(head + frames + sound({}, "mp3", "libmp3lame", rate=44100)[-400:]) == OURS


def id3_frame(name: bytes, content: bytes, version: int) -> bytes:
    if version == 2:
        return name + len(content).to_bytes(3, "big") + content
    return name + (seven_bits(len(content)) if version == 4 else struct.pack(">I", len(content))) + b"\0\0" + content


def seven_bits(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def test_wav_may_carry_id3(tag_of: TagOf) -> None:
    frames = id3_frame(b"TXXX", b"\3wfrecovery\0" + json.dumps(TAG).encode(), 4)
    tag = b"ID3\4\0\0" + seven_bits(len(frames)) + frames
    content = sample("wav")[12:].replace(b"ICMT", b"IXXX")
    content = b"WAVE" + content + b"id3 " + struct.pack("<I", len(tag)) + tag
    assert tag_of(b"RIFF" + struct.pack("<I", len(content)) + content) == OURS


# ------------------------------------------------------------------ how much is read


def test_a_large_workflow_is_no_trouble(tag_of: TagOf) -> None:
    large = {"nodes": [{"id": number, "widgets_values": ["x" * 100]} for number in range(40_000)]}
    assert tag_of(png({"prompt": GRAPH, "workflow": large, "wfrecovery": TAG})) == OURS
    comment = json.dumps({"workflow": large, "wfrecovery": TAG})
    assert tag_of(film({"comment": comment}, "mp4", options={"movflags": "use_metadata_tags"})) == OURS


def test_of_a_file_of_which_nothing_is_known_both_ends_are_searched(tag_of: TagOf) -> None:
    text = b"wfrecovery=" + json.dumps(TAG).encode()
    for content in (text, bytes(100) + text + bytes(3_000_000), bytes(3_000_000) + text + bytes(100)):
        assert tag_of(content) == OURS
    assert tag_of(bytes(3_000_000) + text + bytes(3_000_000)) is None
