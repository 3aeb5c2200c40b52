"""What the tests of the stand-in Feishu share: the shortest way to ask it, over real HTTP."""

from __future__ import annotations

import base64
from typing import Any

import requests

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ROWS = [
    {"产品名": "杯子", "模特名": "小林", "提示词": "一只杯子", "图片是否已处理": "否", "视频是否已实现": "否"},
    {"产品名": "帽子", "模特名": "小周", "提示词": "一顶帽子", "图片是否已处理": "否", "视频是否已实现": "否"},
]


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Knows its token."""

    def __init__(self, feishu: FeishuStandIn) -> None:
        self.feishu = feishu
        self.session = requests.Session()
        self.session.trust_env = False
        self.token = ""

    def send(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return self.session.request(method, self.feishu.url + path, headers=headers, timeout=120, **more)

    def login(self) -> dict[str, Any]:
        asked = {"app_id": self.feishu.app_id, "app_secret": self.feishu.app_secret}
        answer = self.send("POST", "/open-apis/auth/v3/tenant_access_token/internal", json=asked).json()
        self.token = answer.get("tenant_access_token", "")
        return answer

    def control(self, path: str, body: Any) -> requests.Response:
        """The stand-in's own HTTP."""
        return self.session.post(f"{self.feishu.url}/_standin/{path}", json=body, timeout=120)

    def v2(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        return self.raw_v2(method, path, **more).json()

    def raw_v2(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.send(method, f"/open-apis/sheets/v2/spreadsheets/{self.feishu.spreadsheet_token}/{path}", **more)

    def read(self, area: str, **query: str) -> list[list[Any]]:
        return self.v2("GET", f"values/{area}", params=query)["data"]["valueRange"]["values"]

    def put(self, area: str, values: Any) -> dict[str, Any]:
        return self.v2("PUT", "values", json={"valueRange": {"range": area, "values": values}})

    def image(self, cell: str, image: Any = None, name: str = "row.png", **more: Any) -> requests.Response:
        body = {"range": cell, "image": base64.b64encode(PNG).decode() if image is None else image, "name": name}
        return self.raw_v2("POST", "values_image", json=body, **more)

    def parent(self, drive: str) -> dict[str, str]:
        if drive == "medias":
            return {"parent_type": "sheet_image", "parent_node": self.feishu.spreadsheet_token}
        return {"parent_type": "explorer", "parent_node": self.feishu.folder_token}

    def upload(self, data: bytes = PNG, drive: str = "medias", **changes: str) -> dict[str, Any]:
        form = {
            "file_name": "a.png",
            **self.parent(drive),
            "size": str(len(data)),
            **changes,
        }
        return self.send("POST", f"/open-apis/drive/v1/{drive}/upload_all", data=form, files={"file": data}).json()

    def update_records(self, *records: dict[str, Any], table: str = "") -> requests.Response:
        base = self.feishu.bitable
        path = f"/open-apis/bitable/v1/apps/{base.app_token}/tables/{table or base.table_id}/records/batch_update"
        return self.send("POST", path, json={"records": list(records)})
