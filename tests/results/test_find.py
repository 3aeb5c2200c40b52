"""Results in the output folder: only a whole file counts, and only its own task gets it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sample_files import PROMPT, SAMPLES, TAG, TASK, metadata, mp4, png, sample

from wfrecovery.bridge.results.find import Found, find_results

OTHER = "22222222-2222-4333-8444-555555555555"
WANTED = {TASK: PROMPT}


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def of(task_id: str, prompt_id: str) -> dict[str, str]:
    return {"task_id": task_id, "prompt_id": prompt_id}


def paths(folder: Path, prompts: dict[str, str] | None = None, since: float = 0) -> dict[str, list[str]]:
    found = find_results(folder, WANTED if prompts is None else prompts, since)
    return {task_id: [file.path for file in files] for task_id, files in found.items()}


def test_results_are_found_by_task_and_prompt_in_any_folder(tmp_path: Path) -> None:
    put(tmp_path / "wf" / "b_00002_.png", sample("png"))
    put(tmp_path / "wf" / "b_00001_.png", sample("png"))
    now = time.time()
    os.utime(tmp_path / "wf" / "b_00002_.png", (now, now - 5))
    put(tmp_path / "video" / "v_00001_.mp4", mp4(metadata(of("vid_20261123_001", OTHER))))
    put(tmp_path / "other_00001_.png", png(metadata(of("img_20261123_009", OTHER))))
    wanted = {**WANTED, "vid_20261123_001": OTHER, "img_20261123_002": OTHER}
    assert paths(tmp_path, wanted) == {
        TASK: ["wf/b_00002_.png", "wf/b_00001_.png"],  # as they were written
        "vid_20261123_001": ["video/v_00001_.mp4"],
    }


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"bmp"}))
def test_results_of_every_format_are_found_under_any_name(name: str, tmp_path: Path) -> None:
    put(tmp_path / "a.dat", sample(name))
    put(tmp_path / f"b{SAMPLES[name][1]}", sample(name))
    assert paths(tmp_path) == {TASK: ["a.dat", f"b{SAMPLES[name][1]}"]}


def test_run_and_size_are_told(tmp_path: Path) -> None:
    second = png(metadata({**TAG, "run": 2}))
    put(tmp_path / "a.png", second)
    put(tmp_path / "b.png", sample("png"))
    assert find_results(tmp_path, WANTED, 0) == {
        TASK: [Found("a.png", 2, len(second)), Found("b.png", None, len(sample("png")))]
    }


@pytest.mark.parametrize(
    ("task_id", "prompt_id"), [(TASK, OTHER), ("img_20261123_002", PROMPT), ("img_20261122_001", PROMPT)]
)
def test_a_file_of_another_prompt_or_task_is_never_taken(task_id: str, prompt_id: str, tmp_path: Path) -> None:
    put(tmp_path / "a.png", png(metadata(of(task_id, prompt_id))))
    assert paths(tmp_path) == {}


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"bmp"}))
def test_a_torn_result_is_not_found(name: str, tmp_path: Path) -> None:
    put(tmp_path / f"a{SAMPLES[name][1]}", sample(name)[:-3])
    assert paths(tmp_path) == {}


def test_a_result_whose_format_cannot_tell_is_not_found(tmp_path: Path) -> None:
    put(tmp_path / "a.flac", sample("flac") + b"appended by somebody")
    put(tmp_path / "a.txt", b"wfrecovery: " + str(TAG).replace("'", '"').encode())
    assert paths(tmp_path) == {}


@pytest.mark.parametrize("name", ["a.png.tmp", "a.png.part", "a.part.png", "a.TMP"])
def test_what_is_still_being_written_is_not_found(name: str, tmp_path: Path) -> None:
    put(tmp_path / name, sample("png"))
    assert paths(tmp_path) == {}


def test_the_tables_own_folder_holds_no_results(tmp_path: Path) -> None:
    put(tmp_path / "wfrecovery" / "active" / "a.png", sample("png"))
    assert paths(tmp_path) == {}
    put(tmp_path / "img" / "wfrecovery" / "a.png", sample("png"))  # a folder of the user's with the same name
    assert paths(tmp_path) == {TASK: ["img/wfrecovery/a.png"]}


def test_links_are_followed_and_none_in_a_circle(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.png", sample("png"))
    output = tmp_path / "output"
    output.mkdir()
    try:
        (output / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    (tmp_path / "elsewhere" / "back").symlink_to(output, target_is_directory=True)
    (output / "gone.png").symlink_to(tmp_path / "gone.png")
    assert paths(output) == {TASK: ["linked/a.png"]}


def test_files_from_long_before_the_task_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.png", sample("png"))
    os.utime(path, (1_000_000, 1_000_000))
    assert paths(tmp_path, since=1_000_000 + 3_600) == {TASK: ["a.png"]}, "the clock was set back"
    monkeypatch.setattr(Path, "open", None)
    assert paths(tmp_path, since=1_000_000 + 3 * 86_400) == {}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(tmp_path / "a.png")
    assert paths(tmp_path) == {}


def test_nothing_wanted_reads_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a.png", sample("png"))
    assert paths(tmp_path, {}) == {}
    assert paths(tmp_path / "absent") == {}
