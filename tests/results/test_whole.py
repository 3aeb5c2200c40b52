"""A file is whole when its format proves it; whatever is cut off or spoilt never is, and nothing makes us stumble."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_files import SAMPLES, Image, box, metadata, mp4_index_first, outer, png_chunk, png_of, sample, saved, sound

from wfrecovery.bridge.results.embedded import embedded_tag
from wfrecovery.bridge.results.whole import known_whole, why_not_whole

#: These cannot tell at each length that they were cut off: one fragment, page of Ogg or frame of FLAC is like another.
SILENT = {"mp4-fragments", "opus", "ogg", "flac"}
#: Behind these something may stand: nothing of it is part of the result.
APPENDED = set(SAMPLES) - {"flac", "svg"}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    """A file with this content, under a name that says nothing."""
    path = tmp_path / "a.bin"

    def write(content: bytes) -> Path:
        path.unlink(missing_ok=True)  # quicker than to write over it
        path.write_bytes(content)
        return path

    return write


def lengths(content: bytes) -> list[int]:
    """All lengths near the ends of a file, and many between."""
    ends = 250
    between = range(ends, len(content) - ends, max(len(content) // 300, 1))
    return sorted({*range(min(ends, len(content))), *between, *range(max(len(content) - ends, 0), len(content))})


@pytest.mark.parametrize("name", SAMPLES)
def test_a_finished_file_is_known_to_be_whole_under_any_name(name: str, tmp_path: Path) -> None:
    for suffix in (SAMPLES[name][1], ".png", ".mp4", ""):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(sample(name))
        assert why_not_whole(path) is None
        assert known_whole(path)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_off_at_any_length_is_never_known_to_be_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{SAMPLES[name][1]}"
    content = sample(name)
    path.write_bytes(content)
    silent = 0
    for length in reversed(lengths(content)):
        os.truncate(path, length)
        assert not known_whole(path), f"{length} of {len(content)} bytes are taken for a whole file"
        silent += why_not_whole(path) is None
    assert silent == 0 or name in SILENT or SAMPLES[name][0] is None


@pytest.mark.parametrize("name", sorted(APPENDED))
@pytest.mark.parametrize("more", [b"\n", b"\0\0\0\0", b"appended by somebody, and longer than any head", bytes(5000)])
def test_what_is_appended_does_not_make_it_broken(name: str, more: bytes, written: Callable[[bytes], Path]) -> None:
    path = written(sample(name) + more)
    assert why_not_whole(path) is None
    assert known_whole(path)


def test_flac_with_something_behind_it_is_not_known_but_not_broken(written: Callable[[bytes], Path]) -> None:
    path = written(sample("flac") + b"appended by somebody")
    assert why_not_whole(path) is None
    assert not known_whole(path)
    for more in (b"\n", b"TAG" + bytes(125)):
        assert known_whole(written(sample("flac") + more))


@pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.jpg", "a.webp", "a.gif", "a.wav", "a.flac", "a.txt", "a"])
def test_a_missing_and_an_empty_file_are_not_whole(name: str, tmp_path: Path) -> None:
    assert why_not_whole(tmp_path / name) == "it is not there"
    assert not known_whole(tmp_path / name)
    (tmp_path / name).touch()
    assert why_not_whole(tmp_path / name) == "it is empty"
    assert not known_whole(tmp_path / name)


def test_what_is_no_file_is_not_whole(tmp_path: Path) -> None:
    assert why_not_whole(tmp_path) == "it is no file"
    assert why_not_whole(Path("a\0b"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "a.png")
        assert why_not_whole(tmp_path / "a.png") == "it is no file"


def test_other_formats_cannot_tell(written: Callable[[bytes], Path]) -> None:
    for content in (b"a text\n", b'{"a": 1}', b"%PDF-1.7\n", b"PK\3\4"):
        path = written(content)
        assert why_not_whole(path) is None
        assert not known_whole(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".mp4", ".webm", ".flac", ".mp3", ".wav"])
def test_a_file_of_zeros_is_what_a_power_cut_leaves(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bytes(100_000))
    assert why_not_whole(path) == "it holds nothing but zeros"


def test_a_text_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"not a picture, whatever it is called")
    assert why_not_whole(path) == "it does not begin like a PNG picture, nor like another one"


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.wav", "a.png", "download"])
def test_what_comes_in_the_place_of_a_file_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\n<!DOCTYPE HTML>\n<html><title>please log in</title></html>")
    assert why_not_whole(tmp_path / name) is not None
    (tmp_path / name).write_bytes(b'{"code": 401, "msg": "please log in"}')
    assert (why_not_whole(tmp_path / name) is None) == (name == "download")


@pytest.mark.parametrize("name", ["a.html", "a.json", "a.txt"])
def test_a_text_that_is_one_is_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<!doctype html><p>hello</p>" if name == "a.html" else b'{"seed": 7, "steps": 20}')
    assert why_not_whole(tmp_path / name) is None


# ------------------------------------------------------------------ each format


def test_any_flipped_byte_of_a_png_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    content = sample("png")
    for position in range(len(content)):
        spoilt = bytearray(content)
        spoilt[position] ^= 0x41
        path.write_bytes(spoilt)
        assert why_not_whole(path), f"byte {position} was changed"
        assert not known_whole(path)


def test_a_png_without_pixels_is_none(written: Callable[[bytes], Path]) -> None:
    plain = saved("PNG")
    assert why_not_whole(written(plain[:33] + plain[-12:])) == "it holds no picture"
    assert why_not_whole(written(plain[:8] + png_chunk(b"IDAT", b"x") + plain[8:])) == "a part of it is damaged"


def with_thumbnail() -> bytes:
    """A JPEG whose Exif holds another one."""
    small = saved("JPEG")
    plain = saved("JPEG", progressive=True)
    segment = b"Exif\0\0" + small
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]


def test_a_thumbnail_is_not_taken_for_the_end_of_a_jpeg(written: Callable[[bytes], Path]) -> None:
    content = with_thumbnail()
    assert known_whole(written(content))
    assert content.count(b"\xff\xda") > 3
    for length in range(2, len(content), 3):
        path = written(content[:length])
        assert not known_whole(path)
        assert length < 3 or why_not_whole(path)


def test_jpegs_of_every_make_are_whole(written: Callable[[bytes], Path]) -> None:
    picture = Image.effect_noise((300, 200), 80)
    options = ({}, {"quality": 100}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 1})
    for more in options:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", **more)
        assert known_whole(written(buffer.getvalue())), more
    filled = saved("JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1)  # a marker may be filled up
    assert known_whole(written(filled))
    assert why_not_whole(written(b"\xff\xd8\xff\xd9" + bytes(20))) == "it holds no picture"
    assert why_not_whole(written(saved("JPEG")[:200] + bytes(400)))


@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"save_all": True}, {"interlace": 0}])
def test_gifs_are_whole_up_to_their_trailer(options: dict[str, object], written: Callable[[bytes], Path]) -> None:
    content = saved("GIF", **options)
    assert known_whole(written(content))
    assert why_not_whole(written(content[:-1] + b"\0" * 40))
    assert known_whole(written(content + b";"))


@pytest.mark.parametrize(
    "options",
    [{}, {"lossless": True}, {"save_all": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}, {"xmp": b"<x/>"}],
)
def test_webps_are_whole_up_to_their_length(options: dict[str, object], written: Callable[[bytes], Path]) -> None:
    content = saved("WEBP", **options)
    assert known_whole(written(content))
    assert why_not_whole(written(content[:4] + bytes(4) + content[8:])) == "it was not closed: its length is missing"
    assert why_not_whole(written(content[:-2])) == "it ends in the middle"


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
def test_tiffs_are_whole_with_all_their_strips(compression: str | None, written: Callable[[bytes], Path]) -> None:
    for pages in (False, True):
        content = saved("TIFF", compression=compression, save_all=pages)
        assert known_whole(written(content))
        assert not known_whole(written(content[: -20 if pages else -1])), "Pillow fills up to 16 bytes after each page"
    assert why_not_whole(written(b"II*\0\0\0\0\0" + bytes(40))) == "it was not closed: no directory"


def test_bmps_are_whole_up_to_their_size(written: Callable[[bytes], Path]) -> None:
    content = saved("BMP")
    no_size = content[:2] + bytes(4) + content[6:]
    assert why_not_whole(written(no_size)) is None
    assert not known_whole(written(no_size))
    assert why_not_whole(written(no_size[:-1])) == "it ends in the middle"


def mp4(*, index: str = "last", size: str = "plain") -> bytes:
    """A film built by hand: the index after or before the data, and the length of these in one of three ways."""
    parts = outer(sample("mp4"))
    content = parts[b"mdat"][8:]
    heads = {
        "plain": struct.pack(">I4s", 8 + len(content), b"mdat"),
        "wide": struct.pack(">I4sQ", 1, b"mdat", 16 + len(content)),
        "endless": struct.pack(">I4s", 0, b"mdat"),
    }
    film_data = heads[size] + content
    table = parts[b"moov"]
    place = table.index(b"stco") + 12
    start = len(parts[b"ftyp"]) + (len(table) if index == "first" else 0) + len(heads[size])
    table = table[:place] + struct.pack(">I", start) + table[place + 4 :]
    return parts[b"ftyp"] + (table + film_data if index == "first" else film_data + table)


@pytest.mark.parametrize(
    ("index", "size"), [("last", "plain"), ("last", "wide"), ("first", "wide"), ("first", "plain")]
)
def test_films_are_whole_with_index_and_data(index: str, size: str, written: Callable[[bytes], Path]) -> None:
    content = mp4(index=index, size=size)
    assert known_whole(written(content))
    for length in range(8, len(content), 3):
        assert why_not_whole(written(content[:length])), length


def test_a_film_whose_data_go_to_the_end_is_whole_with_all_that_its_index_needs(
    written: Callable[[bytes], Path],
) -> None:
    content = mp4(index="first", size="endless")
    assert known_whole(written(content))
    for length in range(8, len(content), 3):
        assert why_not_whole(written(content[:length])), length


def test_a_film_whose_index_is_being_moved_to_the_front_is_broken(written: Callable[[bytes], Path]) -> None:
    parts = outer(sample("mp4-index-first"))
    rest = b"".join(content for kind, content in parts.items() if kind not in (b"ftyp", b"moov"))
    for shifted in (0, 40, len(rest)):
        moving = parts[b"ftyp"] + rest[: len(parts[b"moov"])] + rest[:shifted]
        assert why_not_whole(written(moving)), shifted


def large(kind: str) -> bytes:
    picture, buffer = Image.effect_noise((200, 200), 90), io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        mp4_index_first(metadata(), frames=60),
        large("WEBP"),
        large("AVIF"),
        sound({}, "mp3", "libmp3lame", rate=44100, seconds=1),
    ],
    ids=["mp4", "webp", "avif", "mp3"],
)
def test_a_file_whose_end_is_zeros_is_not_known_to_be_whole(content: bytes, written: Callable[[bytes], Path]) -> None:
    assert known_whole(written(content))
    for lost in (1100, 2500):
        path = written(content[:-lost] + bytes(lost))
        assert not known_whole(path), "a power cut left the length, and not the last bytes"
        assert why_not_whole(path) is None


def test_films_that_were_not_closed_are_broken(written: Callable[[bytes], Path]) -> None:
    unclosed = mp4(size="endless")
    unclosed = unclosed[: unclosed.index(b"moov") - 4]  # what FFmpeg leaves when it dies: no length, and no index
    assert why_not_whole(written(unclosed)) == "it was not closed: no index (moov) or no data (mdat)"
    index = box(b"ftyp", b"isom\0\0\0\0") + box(b"moov")
    assert why_not_whole(written(index)) == "it was not closed: no index (moov) or no data (mdat)"
    growing = struct.pack(">I4s", 0, b"moov") + b"half of an index"
    assert why_not_whole(written(box(b"ftyp", b"isom\0\0\0\0") + box(b"mdat", b"1234") + growing))


def test_a_film_in_fragments_is_known_to_be_whole_by_the_index_of_them(written: Callable[[bytes], Path]) -> None:
    content = sample("mp4-fragments")
    assert content.count(b"moof") > 1
    end = content.rindex(b"mfra") - 4
    assert why_not_whole(written(content[:end])) is None
    assert not known_whole(written(content[:end]))
    assert why_not_whole(written(content[: end - 1])) == "it ends in the middle"
    last = content.rindex(b"moof") - 4
    assert why_not_whole(written(content[: last + 20])) == "it ends in the middle"
    assert why_not_whole(written(content[:last] + b"\0\0\0")) is None, "three bytes more may be anything"
    assert not known_whole(written(content[:last] + b"\0\0\0"))


def test_an_unclosed_matroska_has_no_length(written: Callable[[bytes], Path]) -> None:
    content = sample("webm")
    place = content.index(b"\x18\x53\x80\x67") + 4
    unclosed = content[:place] + b"\x01" + b"\xff" * 7 + content[place + 8 :]
    assert why_not_whole(written(unclosed)) is None, "one that was sent through a pipe looks the same"
    assert not known_whole(written(unclosed))
    assert why_not_whole(written(content[:-1])) == "it ends in the middle"


def test_avi_and_wav_without_lengths_are_not_known(written: Callable[[bytes], Path]) -> None:
    for name in ("avi", "wav"):
        content = sample(name)
        unclosed = content[:4] + b"\xff\xff\xff\xff" + content[8:]
        assert why_not_whole(written(unclosed)) is None
        assert not known_whole(written(unclosed))
    head = b"RIFF" + struct.pack("<I", 36) + sample("wav")[8:36] + b"data" + bytes(4)
    assert why_not_whole(written(head + b"sound")) == "it was not closed: its length is missing"


def test_a_long_wav_has_its_lengths_in_a_chunk_of_its_own(written: Callable[[bytes], Path]) -> None:
    body = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 2, 48000, 192000, 4, 16) + b"data\xff\xff\xff\xff" + bytes(100)
    sizes = struct.pack("<QQQI", 4 + 36 + len(body), 100, 25, 0)
    content = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", 28) + sizes + body
    assert known_whole(written(content))
    assert why_not_whole(written(content[:-1])) == "it ends in the middle"


def test_an_unclosed_flac_counts_no_samples(written: Callable[[bytes], Path]) -> None:
    content = sample("flac")
    unclosed = content[:21] + bytes([content[21] & 0xF0]) + bytes(20) + content[42:]
    assert why_not_whole(written(unclosed)) is None
    assert not known_whole(written(unclosed))


def test_a_flac_cut_off_while_it_was_copied_is_broken(written: Callable[[bytes], Path]) -> None:
    content = sound({}, "flac", "flac", rate=44100, seconds=1)
    assert known_whole(written(content))
    for length in range(len(content) // 2, len(content) - 20_000, 997):
        assert why_not_whole(written(content[:length])) == "it ends in the middle"
    spoilt = bytearray(content)
    spoilt[-100] ^= 1
    assert not known_whole(written(bytes(spoilt)))


def test_ogg_ends_with_a_page_that_says_so(written: Callable[[bytes], Path]) -> None:
    content = sample("opus")
    last = content.rindex(b"OggS")
    assert content[last + 5] & 4
    assert why_not_whole(written(content[:last])) is None
    assert not known_whole(written(content[:last]))
    assert why_not_whole(written(content[:-1])) == "it ends in the middle"
    spoilt = bytearray(content)
    spoilt[-1] ^= 1
    assert why_not_whole(written(bytes(spoilt))) == "a part of it is damaged"
    assert why_not_whole(written(content[: last - 40] + bytes(len(content) - last + 40)))


def test_an_mp3_without_a_count_of_bytes_is_not_known(written: Callable[[bytes], Path]) -> None:
    content = sample("mp3")
    place = max(content.find(b"Xing"), content.find(b"Info"))
    unclosed = content[: place + 12] + bytes(4) + content[place + 16 :]
    for silent in (unclosed, content.replace(b"Info", b"\0\0\0\0").replace(b"Xing", b"\0\0\0\0")):
        assert why_not_whole(written(silent)) is None
        assert not known_whole(written(silent))
    assert why_not_whole(written(content[:-1])) == "it ends in the middle"


def test_an_avif_needs_all_its_pieces(written: Callable[[bytes], Path]) -> None:
    content = sample("avif")
    assert why_not_whole(written(content[:-1])) == "it ends in the middle"
    assert why_not_whole(written(content[:32])) == "it was not closed: no table of items (meta)"


def test_a_drawing_is_whole_with_all_its_closing_tags(written: Callable[[bytes], Path]) -> None:
    inner = b"<svg><svg><path/></svg>"
    assert known_whole(written(inner + b"</svg>\n"))
    assert not known_whole(written(inner))
    assert why_not_whole(written(b"<?xml version='1.0'?>\n<!-- a -->\n<svg width='1'>")) == "it ends in the middle"
    page = written(b"<!DOCTYPE html><html><body><svg></body></html>")
    assert why_not_whole(page) is None, "a page is no drawing"
    assert not known_whole(page)


# ------------------------------------------------------------------ large and hostile files


def test_gigabytes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    parts = outer(sample("mp4"))
    with path.open("wb") as file:
        file.write(parts[b"ftyp"] + struct.pack(">I4sQ", 1, b"mdat", 6_000_000_000))
        file.seek(len(parts[b"ftyp"]) + 6_000_000_000)
        file.write(parts[b"moov"])
    started = time.process_time()
    tracemalloc.start()
    try:
        assert known_whole(path)
        assert embedded_tag(path) is not None
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5


def test_a_damaged_length_does_not_make_us_read_gigabytes(written: Callable[[bytes], Path]) -> None:
    content = bytearray(sample("png"))
    content[8] = 0x7F  # IHDR now claims 2 GB
    path = written(bytes(content))
    tracemalloc.start()
    try:
        assert why_not_whole(path) == "it ends in the middle"
        assert embedded_tag(path) is None
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


@cache
def hostile() -> dict[str, bytes]:
    """Files that would keep a careless reader busy for ever, or fill its memory."""
    table = struct.pack("<H", 4000) + struct.pack("<HHII", 270, 2, 3_000_000, 8) * 4000
    packed = zlib.compress(b"task_id wfrecovery {" * 1_000_000)
    return {
        "boxes of no size": box(b"ftyp", b"isom\0\0\0\0") + struct.pack(">I4s", 8, b"free") * 50_000,
        "boxes in boxes": box(b"ftyp", b"isom\0\0\0\0") + struct.pack(">I4s", 0, b"moov") * 20_000,
        "chunks of no size": sample("png")[:33] + png_chunk(b"tEXt", b"") * 50_000,
        "packed texts": png_of([(b"zTXt", b"a\0\0" + packed)] * 50),
        "pieces of one byte": b"GIF89a" + bytes(7) + b"!\xfe" + b"\1a" * 500_000,
        "scans of no size": saved("JPEG")[:-2] + b"\xff\xda\0\2" * 50_000,
        "frames of no pixels": b"GIF89a" + bytes(7) + (b"," + bytes(11)) * 100_000,
        "fill bytes": b"\xff\xd8" + b"\xff" * 500_000,
        "pages of no size": sample("opus") + (b"OggS\0\0" + bytes(21)) * 50_000,
        "a table that points to itself": b"II*\0\x08\0\0\0" + bytes(2) + b"\x08\0\0\0" + bytes(4000),
        "values over each other": b"II*\0\x08\0\0\0" + table + b"\x08\0\0\0" + bytes(3_000_000),
        "elements of no size": sample("mkv")[:60] + b"\xec\x80" * 50_000,
        "tags of no size": sample("mkv")[:47] + b"\x12\x54\xc3\x67\x01\0\0\0\0\2\0\0" + b"\x67\xc8\x80" * 50_000,
        "frames of no size": b"ID3\3\0\0\0\x7f\x7f\x7f" + (b"TXXX" + bytes(6)) * 50_000,
        "ends everywhere": sample("flac")[:-20_000] + b"\xff\xf8" * 100_000,
        "braces": png_of([(b"tEXt", b"a\0task_id wfrecovery " + b"{" * 1_000_000)]),
        "depth": png_of([(b"tEXt", b"a\0task_id wfrecovery " + b'{"a":' * 200_000)]),
        "lists": png_of([(b"tEXt", b"a\0" + b"[" * 200_000 + b'{"wfrecovery": "task_id"}' + b"]" * 200_000)]),
        "escapes": png_of([(b"tEXt", b"a\0task_id wfrecovery " + b"\\" * 1_000_000 + b'"')]),
    }


@pytest.mark.parametrize("name", hostile())
def test_a_hostile_file_is_soon_done_with(name: str, written: Callable[[bytes], Path]) -> None:
    path = written(hostile()[name])
    started = time.process_time()
    assert why_not_whole(path) is None or not known_whole(path)
    embedded_tag(path)
    assert time.process_time() - started < 20


@pytest.mark.parametrize("name", ["packed texts", "values over each other", "depth", "ends everywhere"])
def test_a_hostile_file_does_not_fill_the_memory(name: str, written: Callable[[bytes], Path]) -> None:
    path = written(hostile()[name])
    tracemalloc.start()
    try:
        why_not_whole(path)
        embedded_tag(path)
        assert tracemalloc.get_traced_memory()[1] < 200 * 1024 * 1024
    finally:
        tracemalloc.stop()


ANY_SAMPLE = st.sampled_from(sorted(SAMPLES))


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_make_us_stumble(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(data.draw(st.one_of(ANY_SAMPLE.map(sample), st.binary(max_size=400))))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        new = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 4, b"\xff" * 8, bytes(8), b"\x7f"]))
        )
        content[place : place + data.draw(st.sampled_from([0, len(new)]))] = new
    path = tmp_path / f"a{data.draw(st.sampled_from(['.png', '.mp4', '.bin']))}"
    path.unlink(missing_ok=True)
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    reason = why_not_whole(path)
    assert reason is None or (reason and "\n" not in reason)
    if known_whole(path):
        assert reason is None
    embedded_tag(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=ANY_SAMPLE, data=st.data())
def test_no_beginning_of_a_file_is_known_to_be_whole(name: str, data: st.DataObject, tmp_path: Path) -> None:
    content = sample(name)
    path = tmp_path / "a.bin"
    path.unlink(missing_ok=True)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert not known_whole(path)
