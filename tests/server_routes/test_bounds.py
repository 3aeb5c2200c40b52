"""What a client can have us hold in memory, and for how long: bodies without end, pictures that are bombs."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import select
import socket
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from filelock import FileLock
from PIL import Image
from plugin_support import Comfy, Shared, newer_stand_in, one_host, picture, row, until

from wfrecovery.bridge import DatabaseManager
from wfrecovery.bridge.table.content import taken
from wfrecovery.bridge.table.values import Kind
from wfrecovery.server_routes.page import errors, thumbnails

WRITES = ("recover", "settings", "tasks/retry", "tasks/img_20200101_001/cancel")
MIB = 1024 * 1024


@pytest.fixture
def comfy(host: Any, shared: Shared) -> Comfy:
    return shared(host)


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of what comes back."""
    text = b""
    while b"\r\n\r\n" not in text or not text.rstrip().endswith(b"}"):
        block = connection.recv(65536)
        if not block:
            break
        text += block
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def sent_raw(comfy: Comfy, path: str, *headers: str) -> socket.socket:
    """A request of which the body is still to come."""
    parts = urlsplit(comfy.url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=20)
    lines = [f"POST /wfrecovery/{path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json", *headers]
    connection.sendall("\r\n".join((*lines, "", "")).encode())
    return connection


def peak_memory(comfy: Comfy) -> int:
    """Bytes that the process has used at most."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells the peak")
    status = Path(f"/proc/{comfy.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


@one_host
@pytest.mark.parametrize("path", WRITES)
def test_a_body_that_names_a_large_length_is_refused_before_it_comes(comfy: Comfy, path: str) -> None:
    with sent_raw(comfy, path, "Content-Length: 5000000000") as connection:
        status, error = answer_of(connection)
    assert (status, error["type"]) == (413, "too_large")


@one_host
@pytest.mark.parametrize("path", WRITES)
def test_a_body_without_end_gets_its_answer(comfy: Comfy, path: str) -> None:
    """While it is still being sent, and without being kept."""
    before, most = peak_memory(comfy), 200
    block = b"%x\r\n%b\r\n" % (MIB, b" " * MIB)
    with sent_raw(comfy, path, "Transfer-Encoding: chunked") as connection:
        for number in range(most):
            connection.sendall(block)
            if select.select([connection], [], [], 0.01 if number < 20 else 0)[0]:
                break
        else:
            pytest.fail(f"no answer within {most} MiB")
        status, error = answer_of(connection)
    assert (status, error["type"]) == (413, "too_large")
    assert peak_memory(comfy) - before < 30 * MIB


@one_host
def test_a_large_chunked_body_gets_its_answer(comfy: Comfy) -> None:
    with sent_raw(comfy, "recover", "Transfer-Encoding: chunked") as connection:
        block = b" " * (errors.MAX_BODY + 1)
        connection.sendall(b"%x\r\n%b\r\n" % (len(block), block))
        status, error = answer_of(connection)
    assert (status, error["type"]) == (413, "too_large")


@one_host
def test_what_just_fits_is_read(comfy: Comfy) -> None:
    body = b'{"task_ids": []' + b" " * (errors.MAX_BODY - 16) + b"}"
    headers = {"Content-Type": "application/json"}
    assert comfy.call("POST", "/wfrecovery/tasks/push", data=body, headers=headers).status_code == 202
    assert comfy.call("POST", "/wfrecovery/tasks/push", data=body + b" ", headers=headers).status_code == 413


@one_host
def test_a_compressed_body_is_not_unpacked(comfy: Comfy) -> None:
    body = gzip.compress(b" " * (50 * MIB))
    answer = comfy.call(
        "POST",
        "/wfrecovery/recover",
        data=body,
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (415, "content_encoding")


# ------------------------------------------------------------------ thumbnails


def bomb(path: Path, width: int, height: int) -> None:
    """A PNG of one colour: a few kilobytes that become width × height bytes and more."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(b"\0" * (width + 1)) for _ in range(height)) + rows.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def shown_as(comfy: Comfy, task_id: str, file: Path) -> None:
    """The task's result is this file, whatever it is."""
    result = dataclasses.replace(taken(comfy.output, file.name), kind=Kind.PICTURE)
    DatabaseManager(comfy.output).table.update(task_id, lambda task: dataclasses.replace(task, results=(result,)))


def thumbnail(comfy: Comfy, task_id: str) -> Any:
    return comfy.call("GET", f"/wfrecovery/tasks/{task_id}/thumbnail")


@newer_stand_in
def test_bombs_huge_and_endless_pictures_have_no_thumbnail(comfy: Comfy) -> None:
    task_id = comfy.finished(comfy.queue(picture("bomb"), row(2)))["task_id"]
    assert thumbnail(comfy, task_id).status_code == 200
    before, started = peak_memory(comfy), time.monotonic()
    for name, width, height in (("a.png", 12_000, 12_000), ("b.png", 30_000, 30_000), ("c.png", 2**31 - 1, 1)):
        bomb(comfy.output / name, width if width < 2**20 else 1, height)
        if width >= 2**20:
            content = bytearray((comfy.output / name).read_bytes())
            content[16:20] = struct.pack(">I", width)
            (comfy.output / name).write_bytes(content)
        shown_as(comfy, task_id, comfy.output / name)
        answer = thumbnail(comfy, task_id)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "no_thumbnail"), answer.text
    large = comfy.output / "large.png"
    large.write_bytes((comfy.output / "a.png").read_bytes()[:1000])
    os.truncate(large, thumbnails.MAX_BYTES + 1)
    shown_as(comfy, task_id, large)
    answer = thumbnail(comfy, task_id)
    assert (answer.status_code, "larger than" in answer.text) == (404, True)
    assert peak_memory(comfy) - before < 150 * MIB
    assert time.monotonic() - started < 300


@one_host
def test_a_large_photograph_has_one_and_costs_little(comfy: Comfy) -> None:
    task_id = comfy.finished(comfy.queue(picture("photo"), row(2)))["task_id"]
    assert thumbnail(comfy, task_id).status_code == 200
    Image.new("RGB", (14_000, 10_000), "red").save(comfy.output / "photo.jpg", quality=50)
    shown_as(comfy, task_id, comfy.output / "photo.jpg")
    before = peak_memory(comfy)
    answer = thumbnail(comfy, task_id)
    assert answer.status_code == 200, answer.text
    assert peak_memory(comfy) - before < 100 * MIB


@newer_stand_in
def test_many_at_once_are_made_one_after_the_other(comfy: Comfy) -> None:
    """Each is an ordinary picture of 100 MB in memory; together they would be gigabytes."""
    ids = [comfy.finished(comfy.queue(picture("many"), row(number)))["task_id"] for number in range(2, 10)]
    assert thumbnail(comfy, ids[0]).status_code == 200
    for task_id in ids:
        file = comfy.output / f"{task_id}_many.png"
        Image.new("L", (6_000, 5_000), 9).convert("RGB").save(file, compress_level=1)
        shown_as(comfy, task_id, file)
    before = peak_memory(comfy)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda task_id: thumbnail(comfy, task_id).status_code, ids))
    assert answers == [200] * 8
    assert peak_memory(comfy) - before < 350 * MIB


@pytest.mark.skipif(sys.platform == "win32", reason="a file with a hole would take its whole room")
def test_a_damaged_video_holds_up_the_others_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a recorder has set room aside for before it was killed is looked through to its end, for minutes."""
    av = pytest.importorskip("av")
    opened: list[Any] = []
    real = av.open

    def noted(*arguments: Any, **options: Any) -> Any:
        opened.append(options.get("timeout"))
        return real(*arguments, **{**options, "timeout": options.get("timeout") or 0.1})

    monkeypatch.setattr(av, "open", noted)
    monkeypatch.setattr(thumbnails, "_VIDEO_SECONDS", 0.2)
    file = tmp_path / "room.avi"
    file.write_bytes(b"RIFF\xff\xff\xff\x7fAVI LIST")
    os.truncate(file, 16 * 1024 * MIB)
    with pytest.raises(thumbnails.NoThumbnailError):
        thumbnails.Thumbnails()._of(file, "a mark")
    assert opened == [0.2]


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", b"P6 1 1 255 abc", b"%PDF-1.4\n"]
)
def test_only_pictures_are_handed_to_who_reads_pictures(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in PostScript would be run, whatever its file is called."""
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("it is opened"))
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(thumbnails.NoThumbnailError, match="no picture"):
        thumbnails.Thumbnails()._of(file, "a mark")


def test_what_has_none_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    made = thumbnails._made
    monkeypatch.setattr(thumbnails, "_made", lambda path: (tried.append(path), made(path))[1])
    file = tmp_path / "torn.png"
    bomb(file, 100, 100)
    file.write_bytes(file.read_bytes()[:60])
    maker = thumbnails.Thumbnails()
    for _ in range(3):
        with pytest.raises(thumbnails.NoThumbnailError):
            maker._of(file, thumbnails.etag_of(file))
    assert tried == [file]


@pytest.mark.parametrize("waiting", [thumbnails.MAX_WAITING])
def test_too_many_that_wait_are_told_to_come_back(waiting: int, tmp_path: Path) -> None:
    import asyncio  # noqa: PLC0415

    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file)
    maker = thumbnails.Thumbnails()

    async def ask() -> list[Any]:
        asked = [maker.of(file, f"{number}") for number in range(waiting + 5)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if isinstance(answer, thumbnails.NoThumbnailError)]
    assert len(refused) == 5
    assert asyncio.run(maker.of(file, "later"))


# ------------------------------------------------------------------ a disk that hangs


@one_host
def test_while_nothing_of_ours_can_be_written_comfyui_s_own_page_is_served(host: Any, shared: Shared) -> None:
    """From the threads that we would wait on, ComfyUI opens each file that it sends."""
    comfy = shared(host)
    record = comfy.finished(comfy.queue(picture("hung"), row(7)))
    name = record["output_files"][0]
    image = {"filename": Path(name).name, "subfolder": Path(name).parent.as_posix(), "type": "output"}
    done: list[int] = []

    def wants_it_again(_: int) -> None:
        done.append(comfy.act(record["task_id"], "retry").status_code)

    with ThreadPoolExecutor(40) as people, FileLock(comfy.output / "wfrecovery" / "table.lock"):
        asked = [people.submit(wants_it_again, number) for number in range(40)]
        until(lambda: all(one.running() or one.done() for one in asked))
        for _ in range(20):
            assert comfy.call("GET", "/view", params=image).status_code == 200
            assert len(done) <= 16, "it is served when the others have been"
    assert set(done) <= {409, 503}, "its result is there"
