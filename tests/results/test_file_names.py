"""Names of saved results: every system takes them, and fetching again meets the same name."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfrecovery.bridge.results.file_names import result_path, safe_part
from wfrecovery.bridge.table.records import TaskRecord, WorkflowType

OUT = Path("out").absolute()
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{kind}{n}" for kind in ("com", "lpt") for n in range(10)
}


def task(
    product: str = "产品A", model: str = "模特B", kind: WorkflowType = WorkflowType.IMAGE_COMPOSITION
) -> TaskRecord:
    return TaskRecord(
        "img_20261123_001",
        product_name=product,
        model_name=model,
        workflow_type=kind.value,
        created_at="2026-11-23T10:00:00.123+00:00",
    )


def assert_taken_by_every_system(name: str) -> None:
    assert name
    assert not FORBIDDEN.search(name)
    assert not name.endswith((" ", "."))
    assert len(name.encode("utf-8")) <= 255
    assert len(name.encode("utf-16-le")) // 2 <= 255
    assert name.partition(".")[0].rstrip(" ").casefold() not in DEVICES


def test_pictures_and_videos_go_into_their_folders() -> None:
    picture = result_path(OUT, task(), "ComfyUI_00001_.PNG", 0)
    assert re.fullmatch(
        r"img/2026-11-2\d/产品A_模特B_2026112\d_\d\d\d\d00_123\.png", picture.relative_to(OUT).as_posix()
    )
    video = result_path(OUT, task(kind=WorkflowType.IMAGE_TO_VIDEO), "v.mp4", 0)
    assert video.relative_to(OUT).as_posix().startswith("video/2026-11-2")
    assert video.suffix == ".mp4"


def test_fetching_again_meets_the_same_name_and_several_files_differ() -> None:
    again = [result_path(OUT, task(), "a_00001_.png", 0) for _ in range(2)]
    assert again[0] == again[1]
    assert len({result_path(OUT, task(), "a.png", index) for index in range(5)}) == 5


@pytest.mark.parametrize("name", ["con", "CON", "nul", "COM1", "lpt9", "con.a", "AUX. x", "com¹", "nul .b.c"])
def test_windows_device_names_are_changed(name: str) -> None:
    assert safe_part(name, "产品").startswith("_")
    assert_taken_by_every_system(result_path(OUT, task(name), "a.png", 0).name)


@pytest.mark.parametrize("name", ["console", "com", "com10", "nullen", "aux1"])
def test_names_that_only_look_like_devices_are_kept(name: str) -> None:
    assert safe_part(name, "产品") == name


@pytest.mark.parametrize("name", ["", " ", "...", " . . ", "\ud800"])
def test_a_name_of_nothing_gets_a_word(name: str) -> None:
    assert safe_part(name, "产品") == "产品"


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\x", "C:\\x", "/abs", "a/b", "..", "a\0b", "a\nb"])
def test_no_name_leaves_the_folder(name: str) -> None:
    path = result_path(OUT, task(name, name), "x.png", 0)
    assert path.parent.parent == OUT / "img"
    assert_taken_by_every_system(path.name)


def test_long_chinese_names_stay_under_255_bytes_and_are_cut_between_characters() -> None:
    path = result_path(OUT, task("产品" * 200, "模特👗" * 200), "x.png", 999)
    assert_taken_by_every_system(path.name)
    assert "\ufffd" not in path.name
    assert path.name.startswith("产品产品")


def test_one_name_in_two_unicode_spellings_is_one_name() -> None:
    assert safe_part("e\u0301", "x") == safe_part("\u00e9", "x")


@pytest.mark.parametrize("source", ["x", "x.", "x.p/ng", "x.a\\b", "x.a:b", "x." + "y" * 300, ".hidden", "x.\0"])
def test_a_strange_ending_of_the_source_does_no_harm(source: str) -> None:
    path = result_path(OUT, task(), source, 0)
    assert path.parent.parent == OUT / "img"
    assert_taken_by_every_system(path.name)


@given(product=st.text(max_size=300), model=st.text(max_size=300), index=st.integers(0, 10_000))
def test_any_names_make_a_file_name_that_every_system_takes(product: str, model: str, index: int) -> None:
    path = result_path(OUT, task(product, model), "ComfyUI_00001_.png", index)
    assert path.parent.parent == OUT / "img"
    assert_taken_by_every_system(path.name)
    assert path.suffix == ".png"


@given(st.text(max_size=400))
def test_a_safe_part_is_safe_and_stays_as_it_is(text: str) -> None:
    part = safe_part(text, "产品")
    assert_taken_by_every_system(part)
    assert len(part.encode()) <= 81
    assert safe_part(part, "x") == part
    assert unicodedata.is_normalized("NFC", part)
