"""The Feishu spreadsheet over HTTP."""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

COLUMNS = {
    "产品图": "product_image",
    "产品名": "product_name",
    "模特图": "model_image",
    "模特名": "model_name",
    "提示词": "prompt",
    "图片是否已处理": "status",
    "产品模特合成图": "composite_image",
    "视频是否已实现": "video_status",
}


@dataclass
class RowData:
    """A row of the sheet."""

    row_number: int
    product_image: Any = None
    product_name: str = ""
    model_image: Any = None
    model_name: str = ""
    prompt: str = ""
    status: str = ""
    composite_image: Any = None
    video_status: str = ""


class FeishuClient:
    """Reads rows, writes pictures and statuses."""

    def __init__(self, domain: str, app_id: str, app_secret: str, spreadsheet: str, sheet_name: str) -> None:
        self.domain, self.spreadsheet = domain, spreadsheet
        self.session, self.lock = requests.Session(), threading.Lock()
        body = {"app_id": app_id, "app_secret": app_secret}
        token = self._call("POST", "auth/v3/tenant_access_token/internal", json=body)["tenant_access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"
        sheets = self._call("GET", f"sheets/v3/spreadsheets/{spreadsheet}/sheets/query")["data"]["sheets"]
        self.sheet_id = next(sheet["sheet_id"] for sheet in sheets if sheet["title"] == sheet_name)
        self.letters: dict[str, str] = {}

    def read_rows(self) -> list[RowData]:
        """All rows that name a product."""
        path = f"sheets/v2/spreadsheets/{self.spreadsheet}/values/{self.sheet_id}!A1:Z500"
        header, *rows = self._call("GET", path)["data"]["valueRange"]["values"]
        self.letters = {title: chr(ord("A") + place) for place, title in enumerate(header) if title}
        found = []
        for number, cells in enumerate(rows, 2):
            values = {COLUMNS[title]: cell for title, cell in zip(header, cells, strict=False) if title in COLUMNS}
            if values.get("product_name"):
                found.append(RowData(number, **values))
        return found

    def download_media(self, file_token: str, file: Path) -> None:
        """Save a cell's picture."""
        url = f"{self.domain}/open-apis/drive/v1/medias/{file_token}/download"
        while (answer := self.session.get(url, timeout=60)).status_code == 429:
            time.sleep(1)
        answer.raise_for_status()
        file.write_bytes(answer.content)

    def write_picture(self, row_number: int, title: str, file: Path) -> None:
        """Put a picture into its cell."""
        image = base64.b64encode(file.read_bytes()).decode()
        body = {"range": self._cell(row_number, title), "image": image, "name": file.name}
        self._call("POST", f"sheets/v2/spreadsheets/{self.spreadsheet}/values_image", json=body)

    def write_status(self, row_number: int, title: str, text: str) -> None:
        """Write a status cell."""
        body = {"valueRange": {"range": self._cell(row_number, title), "values": [[text]]}}
        self._call("PUT", f"sheets/v2/spreadsheets/{self.spreadsheet}/values", json=body)

    def _cell(self, row_number: int, title: str) -> str:
        letter = self.letters[title]
        return f"{self.sheet_id}!{letter}{row_number}:{letter}{row_number}"

    def _call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        with self.lock:
            response = self.session.request(method, f"{self.domain}/open-apis/{path}", timeout=60, **body)
        answer: dict[str, Any] = response.json()
        if answer["code"] != 0:
            raise RuntimeError(f"Feishu: {answer['msg']} ({answer['code']})")
        return answer
