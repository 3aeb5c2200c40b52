"""A picture for a cell: what Feishu takes goes as it is, whatever the file is called; anything else is converted."""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from wfrecovery.bridge.feishu.cell_pictures import picture_for_cell
from wfrecovery.bridge.feishu.errors import FeishuError, Remedy

Image = pytest.importorskip("PIL.Image")


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = random.Random(1).randbytes(64 * 48 * 3)
    Image.frombytes("RGB", (64, 48), noise).save(buffer, kind)
    return buffer.getvalue()


def opened(content: bytes) -> Any:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("PNG", "a.png", "a.png"),
        ("PNG", "a.webp", "a.png"),
        ("PNG", "a", "a.png"),
        ("JPEG", "a.png", "a.jpg"),
        ("JPEG", "产品.1.jpeg", "产品.1.jpg"),
        ("JPEG", "a.webp", "a.jpg"),
        ("GIF", "a.png", "a.gif"),
        ("BMP", "a.jpg", "a.bmp"),
        ("TIFF", "a.tif", "a.tiff"),
    ],
)
def test_what_feishu_takes_goes_as_it_is_under_the_ending_of_its_content(
    kind: str, name: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(picture(kind))
    assert picture_for_cell(path.name, path.read_bytes()) == (expected, picture(kind))
    assert path.read_bytes() == picture(kind)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "PPM"])
@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.jpg", "a"])
def test_what_feishu_does_not_take_becomes_png_under_any_name(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(picture(kind))
    sent, content = picture_for_cell(path.name, path.read_bytes())
    assert sent == "a.png"
    assert opened(content).format == "PNG"


def test_what_is_too_large_becomes_a_smaller_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(picture("PNG"))
    sent, content = picture_for_cell(path.name, path.read_bytes(), len(picture("PNG")) - 1)
    assert sent == "a.jpg"
    assert opened(content).format == "JPEG"


def test_what_is_no_picture_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"a text that is called a picture")
    with pytest.raises(FeishuError, match="cannot be converted for the cell") as caught:
        picture_for_cell(path.name, path.read_bytes())
    assert caught.value.remedy is Remedy.FINAL


@pytest.mark.parametrize("begins", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6"])
def test_a_program_is_not_run_to_see_a_picture(begins: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow has Ghostscript run PostScript, whatever its file is called."""
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("it is opened"))
    with pytest.raises(FeishuError, match="no picture"):
        picture_for_cell("a.png", begins + bytes(100))


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (picture("WEBP"), "a.png", ".webp pictures"),
        (b"unknown", "a.xyz", ".xyz pictures"),
        (b"unknown", "a", "pictures without an ending"),
    ],
)
def test_without_pillow_the_message_names_the_format(
    content: bytes, name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(FeishuError, match=f"Feishu takes no {kind}"):
        picture_for_cell(path.name, path.read_bytes())
