"""Of what format a result is: its bytes tell, its name does not."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from sample_files import SAMPLES, box, sample

from wfrecovery.bridge.results.formats import Format, Kind, format_of, kind_of

PICTURES = {"png", "jpeg", "gif", "webp", "bmp", "tiff", "avif"}
SOUND = {"m4a", "flac", "mp3", "opus", "ogg", "wav"}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_is_known_by_its_content_under_any_name(name: str, tmp_path: Path) -> None:
    expected, suffix, _ = SAMPLES[name]
    for path in (tmp_path / f"a{suffix}", tmp_path / "a.png", tmp_path / "a"):
        path.write_bytes(sample(name))
        found = format_of(path)
        assert (found and found.name) == expected
        kind = Kind.PICTURE if expected in PICTURES else Kind.AUDIO if expected in SOUND else Kind.VIDEO
        assert kind_of(path) is (kind if expected else Kind.OTHER)
    if expected:
        assert format_of(sample(name)[:64]) == Format(expected, kind, suffix)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (box(b"ftyp", b"heic\0\0\0\0mif1heic"), "heic"),
        (box(b"ftyp", b"mif1\0\0\0\0mif1avif"), "avif"),
        (box(b"ftyp", b"mif1\0\0\0\0mif1heic"), "heic"),
        (box(b"ftyp", b"avis\0\0\0\0avifavis"), "avif"),
        (box(b"ftyp", b"M4V \0\0\0\0isom"), "m4v"),
        (box(b"ftyp", b"M4A \0\0\0\0isom"), "m4a"),
        (box(b"ftyp", b"qt  \0\0\0\0qt  "), "mov"),
        (box(b"ftyp", b"iso5\0\0\0\0"), "mp4"),
        (box(b"wide") + box(b"mdat"), "mov"),
        (b"ID3\4\0\0\0\0\0\4abcd" + b"fLaC", "flac"),
        (b"ID3\3\0\0\0\0\7\x7f", "mp3"),
        (b"\xff\xfb\x90\x64" + bytes(413) + b"\xff\xfb\x90\x64", "mp3"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "wav"),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"GIF87a", "gif"),
        (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora", "ogv"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x82\x88matroska", "mkv"),
    ],
)
def test_formats_that_no_saver_here_writes_are_known_too(head: bytes, name: str) -> None:
    found = format_of(head)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 64,
        b'{"a": 1}',
        b"%PDF-1.7",
        b"BMW is a car, and this is a text",
        "\ufeffa text".encode("utf-16"),
        b"ID3 was here",
        b"RIFF\0\0\0\0sfbk",
        b"\xff\xfb\x90\x64" + bytes(1000),
        b"PK\3\4",
        struct.pack("<Q", 2) + b"{}",
    ],
)
def test_anything_else_is_another_kind(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert format_of(path) is None
    assert format_of(content) is None
    assert kind_of(path) is Kind.OTHER


def test_what_cannot_be_read_is_another_kind(tmp_path: Path) -> None:
    assert kind_of(tmp_path) is Kind.OTHER
    assert kind_of(tmp_path / "absent.png") is Kind.OTHER
    assert kind_of(Path("a\0b")) is Kind.OTHER
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        assert kind_of(tmp_path / "pipe.png") is Kind.OTHER
