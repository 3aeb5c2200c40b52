"""What a finished picture costs on its way into the sheet: calls, bytes and time, against the ordinary way, in one run.

    python benchmarks/publishing.py [--rows 100] [--kilobytes 300] [--latency-ms 20]

The ordinary way is that of scripts which write one row at a time: for each row a token, the list of sheets, the header,
the row, the picture as a list of numbers, then status after status, each call on a connection of its own. Both write
into the stand-in Feishu on this machine; the latency is added to each call there. Ratios are printed, nothing asserted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.publisher import Publisher
from wfrecovery.bridge.settings import load_settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn

STATUS, PICTURE = "图片是否已处理", "产品模特合成图"


@dataclass
class Cost:
    """Of one way, for all rows."""

    calls: int
    picture_bytes: float
    seconds: float


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


def our_way(files: list[Path], latency: float) -> Cost:
    with sheet(len(files), latency) as feishu:
        db = DatabaseManager(files[0].parent)
        for number, file in enumerate(files, 2):
            row = {"row_number": number, "product_name": f"产品{number - 1}", "model_name": f"模特{number - 1}"}
            db.complete_task(db.add_workflow_task(row, "图片合成"), [file])
        publisher = Publisher(db, FeishuClient(load_settings(environ=feishu.environment())))
        started = time.perf_counter()
        report = publisher.flush()
        assert len(report.pushed) == len(files), report
        return measured(feishu, len(files), started)


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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = pictures(Path(folder), given.rows, given.kilobytes)
        size = statistics.mean(file.stat().st_size for file in files)
        ours = our_way(files, given.latency_ms / 1000)
        ordinary = ordinary_way(files, given.latency_ms / 1000)
    print(f"{given.rows} pictures of {size / 1024:.0f} KiB, {given.latency_ms:g} ms added to each call")
    print(f"{'':24}{'ordinary':>12}{'wfrecovery':>12}{'ratio':>8}")
    for name, before, now in (
        ("calls per row", ordinary.calls / given.rows, ours.calls / given.rows),
        ("sent per picture byte", ordinary.picture_bytes / size, ours.picture_bytes / size),
        ("milliseconds per row", ordinary.seconds / given.rows * 1000, ours.seconds / given.rows * 1000),
    ):
        print(f"{name:24}{before:12.2f}{now:12.2f}{before / now:8.1f}")


if __name__ == "__main__":
    main()
