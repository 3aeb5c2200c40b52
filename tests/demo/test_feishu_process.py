"""The stand-in Feishu: as a process, and its own HTTP. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
from feishu_caller import PNG, ROWS, Client

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


def test_the_switches_over_http(client: Client, feishu: FeishuStandIn) -> None:
    def post(path: str, body: Any) -> int:
        return client.session.post(f"{feishu.url}/_standin/{path}", json=body, timeout=120).status_code

    assert post("faults", {"clear": True, "add": [{"kind": "BUSY_90217", "match": "values_put"}]}) == 200
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 90217
    assert post("rows", {"insert": {"at": 2, "values": {"产品名": "鞋"}}}) == 200
    assert post("rows", {"delete": 3}) == 200
    assert post("rows", {"sort": "产品名", "reverse": True}) == 200
    assert post("rows", {"insert_column": {"at": "A", "title": "编号"}}) == 200
    assert post("rows", {"move_column": {"from": "A", "to": "C"}}) == 200
    assert feishu.sheet.titles[:4] == ["产品图", "产品名", "编号", "模特图"]
    assert post("rows", {"delete_column": "C"}) == 200
    assert post("rows", {"set": {"cell": "G2", "value": {"base64": base64.b64encode(PNG).decode()}}}) == 200
    assert post("settings", {"switches": {"document_access": "view"}, "limits": {"pictures": 1}}) == 200
    assert (feishu.switches.document_access, feishu.limits.pictures) == ("view", 1)
    assert post("settings", {"switches": {"nonsense": 1}}) == 400
    assert post("rows", {"sort": "无此列"}) == 400
    assert post("faults", [1]) == 400
    sheet = client.session.get(f"{feishu.url}/_standin/sheet", timeout=120).json()
    assert [row[1] for row in sheet["rows"][1:]] == ["鞋", "帽子"]
    picture = client.session.get(f"{feishu.url}/_standin/picture/{sheet['rows'][1][6]['fileToken']}", timeout=120)
    assert (picture.content, picture.headers["Content-Type"]) == (PNG, "image/png")
    log = client.session.get(f"{feishu.url}/_standin/calls?last=1", timeout=120).json()
    assert (log["total"], log["overlaps"], log["calls"][0]["fault"], log["faults"]) == (
        2,
        0,
        "BUSY_90217",
        {"BUSY_90217": 1},
    )


def test_the_page_needs_nothing_from_elsewhere(client: Client, feishu: FeishuStandIn) -> None:
    page = client.session.get(f"{feishu.url}/", timeout=120)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_the_state_file_follows_every_change(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with FeishuStandIn(ROWS, state_file=state) as feishu:
        assert json.loads(state.read_text("utf-8"))["sheets"][0]["rows"][1][1] == "杯子"
        client = Client(feishu)
        with client.session:
            client.login()
            client.image("sid001!G2:G2")
        saved = json.loads(state.read_text("utf-8"))
        assert saved["revision"] == feishu.sheet.revision
        assert saved["sheets"][0]["picture_writes"][0]["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    rows = [{"产品名": "杯子", "产品图": {"path": "a.png"}}]
    (tmp_path / "rows.json").write_text(json.dumps({"header_row": 2, "rows": rows}), "utf-8")
    files = {"--rows": "rows.json", "--state": "state.json", "--port-file": "port"}
    given = [part for name, file in files.items() for part in (name, str(tmp_path / file))]
    command = [sys.executable, "-m", "wfrecovery.demo.feishu_host", "--port", "0", *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert sorted(ready) == ["app_id", "app_secret", "sheet_title", "spreadsheet_token", "url"]
            assert (tmp_path / "port").read_text("utf-8") == ready["url"].rpartition(":")[2]
            with requests.Session() as session:
                session.trust_env = False
                sheet = session.get(f"{ready['url']}/_standin/sheet", timeout=120).json()
            assert (sheet["header_row"], sheet["rows"][2][0]["type"]) == (2, "embed-image")
            assert json.loads((tmp_path / "state.json").read_text("utf-8"))["sheets"][0]["header_row"] == 2
        finally:
            process.kill()


def test_the_import_is_light() -> None:
    """Whoever starts it as a process should not wait; so nothing but the standard library."""
    code = (
        "import sys, wfrecovery.demo.feishu_host.stand_in; "
        "print([m for m in ('requests', 'aiohttp', 'PIL') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
