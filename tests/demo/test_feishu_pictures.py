"""The stand-in Feishu: pictures in cells. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import pytest
from feishu_caller import PNG, Client

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


@pytest.mark.parametrize("image", [base64.b64encode(PNG).decode(), list(PNG)], ids=["base64", "int list"])
def test_a_picture_goes_into_a_cell(client: Client, feishu: FeishuStandIn, image: Any) -> None:
    data = client.image("sid001!G2:G2", image).json()["data"]
    assert data == {
        "revision": feishu.sheet.revision,
        "spreadsheetToken": feishu.spreadsheet_token,
        "updateRange": "sid001!G2:G2",
    }
    (write,) = feishu.sheet.picture_writes
    assert (write.cell, write.title, write.row_texts["产品名"]) == ("G2", "产品模特合成图", "杯子")
    assert (write.data, write.sha256) == (PNG, hashlib.sha256(PNG).hexdigest())


def test_a_picture_reads_back_as_an_object(client: Client) -> None:
    client.image("sid001!G2:G2")
    ((cell,),) = client.read("sid001!G2:G2")
    assert (cell["type"], cell["width"], cell["height"], cell["text"]) == ("embed-image", 1, 1, "")
    downloaded = client.send("GET", f"/open-apis/drive/v1/medias/{cell['fileToken']}/download")
    assert downloaded.content == PNG


def test_both_spellings_of_the_range(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.picture_range_key = "updatedRange"
    assert client.image("sid001!G2:G2").json()["data"]["updatedRange"] == "sid001!G2:G2"


@pytest.mark.parametrize("name", ["row", "row.webp", "row.mp4", ".png", ""])
def test_a_picture_needs_a_known_extension(client: Client, name: str) -> None:
    answer = client.image("sid001!G2:G2", name=name).json()
    assert (answer["code"], answer["msg"]) == (90204, "Image format is unknown")


@pytest.mark.parametrize("name", ["图.PNG", "a.JPEG", "a.b.heic", "x.Tiff"])
def test_extensions_in_any_case(client: Client, name: str) -> None:
    assert client.image("sid001!G2:G2", name=name).json()["code"] == 0


def test_webp_is_refused_under_any_name(client: Client) -> None:
    assert client.image("sid001!G2:G2", list(b"RIFF\x00\x00\x00\x00WEBPVP8 ")).json()["code"] == 90204


@pytest.mark.parametrize("area", ["sid001!G2:G3", "sid001!G2:H2", "sid001!G2", "sid001!G:G", "sid001", None])
def test_a_picture_goes_into_one_cell(client: Client, area: Any) -> None:
    assert client.image(area).json()["code"] == 90202


@pytest.mark.parametrize("image", ["not base64!", "", [], [256], 7])
def test_bytes_that_are_none(client: Client, image: Any) -> None:
    assert client.image("sid001!G2:G2", image).json()["code"] == 90204


def test_a_picture_that_is_too_large(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.picture_bytes = 40
    assert client.image("sid001!G2:G2").json()["code"] == 90227


def test_each_write_counts_to_the_limit_of_pictures(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.pictures = 2
    assert [client.image("sid001!G2:G2").json()["code"] for _ in range(3)] == [0, 0, 90226]
    assert len({write.token for write in feishu.sheet.picture_writes}) == 2


@pytest.mark.parametrize("content", ["PNG", "JPEG"])
def test_a_download_may_be_another_file_that_shows_the_same(
    client: Client, feishu: FeishuStandIn, content: str
) -> None:
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.linear_gradient("L").save(out, content)
    feishu.sheet.set("G2", out.getvalue())
    feishu.switches.downloads = "written anew"
    token = feishu.sheet.row(2)["产品模特合成图"].token
    downloaded = client.send("GET", f"/open-apis/drive/v1/medias/{token}/download").content
    assert (downloaded != out.getvalue()) is (content == "PNG"), "others are not imitated"
    one, other = (image.open(io.BytesIO(data)) for data in (downloaded, out.getvalue()))
    assert one.tobytes() == other.tobytes()
