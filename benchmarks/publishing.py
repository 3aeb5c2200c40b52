"""What a finished picture costs on its way into the sheet: calls, bytes and time, against the ordinary way, in one run;
what it costs where pictures come in one by one; and whether it costs more in a sheet of many rows.

    python benchmarks/publishing.py [--rows 100] [--kilobytes 300] [--latency-ms 20] [--large 12000]

The ordinary way is that of scripts which write one row at a time: for each row a token, the list of sheets, the header,
the row, the picture as a list of numbers, then status after status, each call on a connection of its own. Both write
into the stand-in Feishu on this machine; the latency is added to each call there. Ratios are printed, nothing asserted.

The trickle is one picture after the other, each while the next one of its batch renders, or alone, after two that show
how the stand-in counts; nobody else edits.

The large sheet is compared with one of a tenth of its rows: a flush of as many pictures, spread over all of it, by a
publisher that has read nothing yet. The stand-in runs in a process of its own there, so that the seconds and the peak
are the publisher's: its CPU time, and what Python's memory grew by (tracemalloc, in a second run: it costs time).
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.publisher import Publisher
from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn

STATUS, PICTURE = "图片是否已处理", "产品模特合成图"


@dataclass
class Cost:
    """Of one way, for all rows."""

    calls: int
    picture_bytes: float
    seconds: float


@dataclass
class Flush:
    """One flush into a sheet of `rows` rows."""

    rows: int
    calls: int
    cpu_seconds: float
    peak_mib: float


@contextmanager
def sheet(rows: int, latency: float) -> Iterator[FeishuStandIn]:
    data = [{"产品名": f"产品{n}", "模特名": f"模特{n}", STATUS: "否"} for n in range(1, rows + 1)]
    with FeishuStandIn(data) as feishu:
        feishu.limits.sheet_calls_per_second = None
        feishu.limits.sheet_v3_calls_per_minute = None
        if latency:
            feishu.faults.add(Fault.SLOW, times=None, seconds=latency)
        yield feishu


def measured(feishu: FeishuStandIn, rows: int, started: float) -> Cost:
    seconds = time.perf_counter() - started
    done = [feishu.sheet.row(number) for number in range(2, rows + 2)]
    assert all(row[STATUS] == "已完成" and row[PICTURE] is not None for row in done), "not all rows arrived"
    sizes = [call.body_bytes for call in feishu.calls if call.operation == "values_image"]
    return Cost(len(feishu.calls), statistics.mean(sizes), seconds)


def enter(db: DatabaseManager, number: int, file: Path) -> None:
    """A finished picture of a row."""
    db.complete_task(db.add_workflow_task(row(number), "图片合成"), [file])


def our_way(files: list[Path], latency: float) -> Cost:
    with sheet(len(files), latency) as feishu:
        db = DatabaseManager(files[0].parent)
        for number, file in enumerate(files, 2):
            enter(db, number, file)
        publisher = Publisher(db, FeishuClient(load_settings(environ=feishu.environment())))
        started = time.perf_counter()
        report = publisher.flush()
        assert len(report.pushed) == len(files), report
        return measured(feishu, len(files), started)


def trickle(files: list[Path], *, alone: bool) -> Counter[str]:
    """The calls for pictures that come in one by one, by operation: each while the next one renders, or `alone`."""
    with sheet(len(files), 0.0) as feishu:
        db = DatabaseManager(files[0].parent)
        publisher = Publisher(db, FeishuClient(load_settings(environ=feishu.environment())))
        tasks = [db.add_workflow_task(row(number), "图片合成") for number in range(2, len(files) + 2)]
        known = 0
        for number, (task_id, file) in enumerate(zip(tasks, files, strict=True)):
            for queued in [task_id] if alone else tasks if number == 0 else []:
                db.table.update(queued, lambda task: task.entering(Stage.QUEUED))
            db.complete_task(task_id, [file])
            if not publisher.waits_for_company(unless_set=120):
                publisher.flush()
            known = known or (len(feishu.calls) if number == 1 else 0)
        assert not db.unpushed()
        return Counter(call.operation for call in feishu.calls[known:])


def row(number: int) -> dict[str, Any]:
    """As it was read."""
    return {"row_number": number, "product_name": f"产品{number - 1}", "model_name": f"模特{number - 1}"}


def flush_into(rows: int, count: int, folder: Path) -> Flush:
    """A flush of `count` pictures, spread over a sheet of `rows` rows in another process."""
    ours, theirs = multiprocessing.Pipe()
    service = multiprocessing.get_context("spawn").Process(target=serve, args=(rows, theirs), daemon=True)
    service.start()
    try:
        settings = load_settings(environ=ours.recv())
        runs = [flushed(settings, rows, count, folder / f"{rows}-{traced}", traced=traced) for traced in (False, True)]
        ours.send(None)
        calls = ours.recv()
    finally:
        service.terminate()
        service.join()
    return Flush(rows, calls // len(runs), runs[0][0], runs[1][1])


def flushed(settings: Settings, rows: int, count: int, folder: Path, *, traced: bool) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB of one flush by a new publisher; each run has rows of its own."""
    folder.mkdir()
    db, files = DatabaseManager(folder), pictures(folder, count, 4)
    for place, file in enumerate(files):
        enter(db, 2 + place * rows // count + traced, file)
    publisher = Publisher(db, FeishuClient(settings))
    if traced:
        tracemalloc.start()
    started = time.process_time()
    report = publisher.flush()
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1] / 2**20 if traced else 0.0
    tracemalloc.stop()
    assert len(report.pushed) == count, report
    return seconds, peak


def serve(rows: int, pipe: Connection) -> None:
    """The service: tells how to reach it and, when asked, how many calls came."""
    with sheet(rows, 0.0) as feishu:
        pipe.send(feishu.environment())
        pipe.recv()
        pipe.send(len(feishu.calls))
        pipe.recv()


def ordinary_way(files: list[Path], latency: float) -> Cost:
    with sheet(len(files), latency) as feishu:
        started = time.perf_counter()
        for number, file in enumerate(files, 2):
            write_row(feishu, number, file)
        return measured(feishu, len(files), started)


def write_row(feishu: FeishuStandIn, number: int, file: Path) -> None:
    v2 = f"{feishu.url}/open-apis/sheets/v2/spreadsheets/{feishu.spreadsheet_token}"
    v3 = f"{feishu.url}/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}"
    credentials = {"app_id": feishu.app_id, "app_secret": feishu.app_secret}
    token = called("POST", f"{feishu.url}/open-apis/auth/v3/tenant_access_token/internal", "", credentials)
    token = token["tenant_access_token"]
    sheet_id = called("GET", f"{v3}/sheets/query", token)["data"]["sheets"][0]["sheet_id"]
    titles = called("GET", f"{v2}/values/{sheet_id}!A1:Z1", token)["data"]["valueRange"]["values"][0]
    called("GET", f"{v2}/values/{sheet_id}!A{number}:Z{number}", token)
    status, picture = (f"{sheet_id}!{chr(65 + titles.index(title))}{number}" for title in (STATUS, PICTURE))
    status, picture = (f"{cell}:{cell.partition('!')[2]}" for cell in (status, picture))
    put(v2, token, status, "处理中")
    called("POST", f"{v2}/values_image", token, {"range": picture, "image": list(file.read_bytes()), "name": file.name})
    put(v2, token, status, "已完成")
    called("GET", f"{v2}/values/{status}", token)


def put(v2: str, token: str, cell: str, text: str) -> None:
    called("PUT", f"{v2}/values", token, {"valueRange": {"range": cell, "values": [[text]]}})


def called(method: str, url: str, token: str, body: Any = None) -> dict[str, Any]:
    """One call on a connection of its own."""
    headers = {"Authorization": f"Bearer {token}"}
    answer: dict[str, Any] = requests.request(method, url, json=body, headers=headers, timeout=60).json()
    assert answer["code"] == 0, answer
    return answer


def pictures(folder: Path, count: int, kilobytes: int) -> list[Path]:
    """PNG files of noise, so that nothing compresses."""
    side = max(1, round((kilobytes * 1024 / 3) ** 0.5))
    made = []
    for number in range(count):
        path = folder / f"row{number}.png"
        Image.frombytes("RGB", (side, side), random.Random(number).randbytes(side * side * 3)).save(path)
        made.append(path)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--kilobytes", type=int, default=300, help="of each picture")
    parser.add_argument("--latency-ms", type=float, default=20, help="added to each call")
    parser.add_argument("--large", type=int, default=12_000, help="rows of the large sheet")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(Path(folder), given.rows, given.kilobytes)
        size = statistics.mean(file.stat().st_size for file in files)
        ours = our_way(files, given.latency_ms / 1000)
        ordinary = ordinary_way(files, given.latency_ms / 1000)
    with tempfile.TemporaryDirectory() as folder:
        trickles = {}
        for way in ("one by one", "alone"):
            (Path(folder) / way).mkdir()
            files = pictures(Path(folder) / way, given.rows, given.kilobytes)
            trickles[way] = trickle(files, alone=way == "alone")
        small, large = (flush_into(rows, given.rows, Path(folder)) for rows in (given.large // 10, given.large))
    print(f"{given.rows} pictures of {size / 1024:.0f} KiB, {given.latency_ms:g} ms added to each call")
    print(f"{'':24}{'ordinary':>12}{'wfrecovery':>12}{'ratio':>8}")
    for name, before, now in (
        ("calls per row", ordinary.calls / given.rows, ours.calls / given.rows),
        ("sent per picture byte", ordinary.picture_bytes / size, ours.picture_bytes / size),
        ("milliseconds per row", ordinary.seconds / given.rows * 1000, ours.seconds / given.rows * 1000),
    ):
        print(f"{name:24}{before:12.2f}{now:12.2f}{before / now:8.1f}")
    for way, calls in trickles.items():
        print(f"{way}: {calls.total() / (given.rows - 2):.2f} calls a row: {dict(calls)}")
    print(f"{given.rows} pictures into a sheet of{small.rows:12,}{large.rows:12,}{'ratio':>8}")
    for name, less, more in (
        ("calls", small.calls, large.calls),
        ("CPU seconds", small.cpu_seconds, large.cpu_seconds),
        ("  per row of the sheet, ms", small.cpu_seconds / small.rows * 1e3, large.cpu_seconds / large.rows * 1e3),
        ("peak MiB", small.peak_mib, large.peak_mib),
        ("  per row of the sheet, KiB", small.peak_mib / small.rows * 1024, large.peak_mib / large.rows * 1024),
    ):
        print(f"{name:30}{less:12.2f}{more:12.2f}{more / less:8.1f}")


if __name__ == "__main__":
    main()
