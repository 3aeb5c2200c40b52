"""The stand-in Feishu: Drive, a bitable and the wiki. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from feishu_caller import PNG, Client, Clock

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

#: of an upload in parts, always
BLOCK = 4 * 1024 * 1024


def test_upload_and_download(client: Client, feishu: FeishuStandIn) -> None:
    token = client.upload(b"hello", checksum=str(zlib.adler32(b"hello")))["data"]["file_token"]
    path = f"/open-apis/drive/v1/medias/{token}/download"
    whole = client.send("GET", path)
    assert (whole.content, whole.headers["Content-Disposition"]) == (b"hello", "attachment; filename*=UTF-8''a.png")
    part = client.send("GET", path, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"ell", "bytes 1-3/5")
    assert client.send("GET", path, headers={"Range": "bytes=9-"}).status_code == 416
    assert feishu.drive.files[token].data == b"hello"


def test_a_file_part_without_name_and_empty_parts(client: Client, feishu: FeishuStandIn) -> None:
    fields = {"file_name": "图.png", "parent_type": "sheet_image", "parent_node": feishu.spreadsheet_token}
    fields |= {"size": "5", "checksum": "", "extra": ""}
    pieces = [f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    pieces.append(b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n-b\r\n--x--\r\n')
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.send("POST", "/open-apis/drive/v1/medias/upload_all", data=b"".join(pieces), headers=headers)
    stored = feishu.drive.files[answer.json()["data"]["file_token"]]
    assert (stored.name, stored.data) == ("图.png", b"a\r\n-b")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"size": "99"}, 1062009),
        ({"size": "x"}, 1061002),
        ({"size": "0"}, 1061002),
        ({"checksum": "1"}, 1062008),
        ({"parent_type": "nonsense"}, 1061002),
        ({"parent_node": "other"}, 1061044),
        ({"file_name": "x" * 251}, 1061008),
        ({"size": str(20 * 1024 * 1024 + 1)}, 1061043),
    ],
)
def test_uploads_that_are_refused(client: Client, changes: dict[str, str], code: int) -> None:
    assert client.upload(**changes)["code"] == code


@pytest.mark.parametrize("drive", ["medias", "files"])
def test_an_upload_in_parts(client: Client, feishu: FeishuStandIn, drive: str) -> None:
    data = b"x" * (BLOCK + 3)
    about = {"file_name": "a.mp4", **client.parent(drive), "size": len(data)}
    path = f"/open-apis/drive/v1/{drive}"
    prepared = client.send("POST", f"{path}/upload_prepare", json=about).json()["data"]
    assert (prepared["block_size"], prepared["block_num"]) == (4 * 1024 * 1024, 2)

    def send(seq: int, block: bytes) -> int:
        form = {"upload_id": prepared["upload_id"], "seq": str(seq), "size": str(len(block))}
        return client.send("POST", f"{path}/upload_part", data=form, files={"file": block}).json()["code"]

    def finish() -> dict[str, Any]:
        asked = {"upload_id": prepared["upload_id"], "block_num": 2}
        return client.send("POST", f"{path}/upload_finish", json=asked).json()

    assert send(0, data[:BLOCK]) == 0
    assert send(2, b"x") == 1062011
    assert send(1, b"xx") == 1062009
    assert finish()["code"] == 1062010
    assert send(1, data[BLOCK:]) == 0
    assert feishu.drive.files[finish()["data"]["file_token"]].data == data
    assert finish()["code"] == 1061021


def test_an_upload_id_lives_a_day(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    about = {"file_name": "a", **client.parent("files"), "size": 1}
    answer = client.send("POST", "/open-apis/drive/v1/files/upload_prepare", json=about).json()
    clock.now += 24 * 3600
    client.login()
    asked = {"upload_id": answer["data"]["upload_id"], "block_num": 1}
    assert client.send("POST", "/open-apis/drive/v1/files/upload_finish", json=asked).json()["code"] == 1061021


def test_drive_errors_have_their_own_status(client: Client, feishu: FeishuStandIn) -> None:
    missing = client.send("GET", "/open-apis/drive/v1/medias/nosuch/download")
    assert (missing.status_code, missing.json()["code"]) == (404, 1061003)
    feishu.switches.document_access = "none"
    assert client.upload()["code"] == 1061004


def test_temporary_urls(client: Client) -> None:
    token = client.upload()["data"]["file_token"]
    path = f"/open-apis/drive/v1/medias/batch_get_tmp_download_url?file_tokens={token}"
    (found,) = client.send("GET", path).json()["data"]["tmp_download_urls"]
    assert found["file_token"] == token
    assert client.session.get(found["tmp_download_url"], timeout=120).content == PNG


def test_a_file_in_a_folder_has_an_address(client: Client, feishu: FeishuStandIn) -> None:
    stored = client.upload(b"\0\0\0 ftypisom", "files", file_name="杯子.mp4")["data"]["file_token"]
    media = client.upload()["data"]["file_token"]

    def ask(with_url: bool = True, kind: str = "file") -> dict[str, Any]:
        documents = [{"doc_token": token, "doc_type": kind} for token in (stored, media)]
        body = {"request_docs": documents, "with_url": with_url}
        return client.send("POST", "/open-apis/drive/v1/metas/batch_query", json=body).json()["data"]

    (meta,) = ask()["metas"]
    assert (meta["doc_token"], meta["title"], meta["url"]) == (stored, "杯子.mp4", f"{feishu.url}/file/{stored}")
    assert ask()["failed_list"] == [{"token": media, "code": 970005}], "a document's media is no file of its own"
    assert "url" not in ask(with_url=False)["metas"][0]
    assert {item["code"] for item in ask(kind="nonsense")["failed_list"]} == {970002}
    page = client.session.get(meta["url"], timeout=120)
    assert (page.content, page.headers["Content-Type"]) == (b"\0\0\0 ftypisom", "video/mp4")
    feishu.switches.folder_access = False
    assert ask()["failed_list"][0] == {"token": stored, "code": 970003}
    assert client.upload(drive="files")["code"] == 1061004


def test_a_folder_is_listed_page_by_page(client: Client, feishu: FeishuStandIn) -> None:
    for name in ("a", "b", "c"):
        client.upload(drive="files", file_name=name)

    def ask(**query: Any) -> dict[str, Any]:
        found = client.send("GET", "/open-apis/drive/v1/files", params={"folder_token": feishu.folder_token, **query})
        return found.json()

    page = ask(page_size=2, order_by="CreatedTime")["data"]
    assert ([file["name"] for file in page["files"]], page["has_more"]) == (["c", "b"], True)
    assert page["files"][0]["url"] == f"{feishu.url}/file/{page['files'][0]['token']}"
    rest = ask(page_size=2, page_token=page["next_page_token"])["data"]
    assert ([file["name"] for file in rest["files"]], rest["has_more"]) == (["a"], False)
    assert ask(page_size=201)["code"] == 1064001
    assert ask(folder_token="other")["code"] == 1061003
    feishu.switches.scopes = frozenset({"drive:file:upload"})
    assert ask()["code"] == 99991672


def test_files_and_media_need_different_scopes(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.scopes = frozenset({"sheets:spreadsheet"})
    assert (client.upload()["code"], client.upload(drive="files")["code"]) == (0, 99991672)
    feishu.switches.scopes = frozenset({"drive:file:upload"})
    assert (client.upload()["code"], client.upload(drive="files")["code"]) == (99991672, 0)


def test_a_folder_that_is_not_there_and_one_that_is_full(client: Client, feishu: FeishuStandIn) -> None:
    assert client.upload(drive="files", parent_node="other")["code"] == 1061044
    feishu.limits.folder_entries = 1
    assert [client.upload(drive="files")["code"] for _ in range(2)] == [0, 1062507]


def test_records_are_updated_and_echoed(client: Client, feishu: FeishuStandIn) -> None:
    uploaded = client.upload(parent_type="bitable_file", parent_node=feishu.bitable.app_token)["data"]["file_token"]
    record = {"record_id": "recstandin1", "fields": {"状态": "已完成", "附件": [{"file_token": uploaded}]}}
    assert client.update_records(record).json()["data"] == {"records": [record]}
    assert feishu.bitable.records["recstandin1"] == record["fields"]


def test_records_that_are_refused(client: Client, feishu: FeishuStandIn) -> None:
    picture = client.upload()["data"]["file_token"]
    good = {"record_id": "recstandin1", "fields": {"状态": "已完成"}}

    def codes(*records: dict[str, Any], table: str = "") -> tuple[int, int]:
        answer = client.update_records(*records, table=table)
        return answer.status_code, answer.json()["code"]

    assert codes(good, table="other") == (200, 1254041)
    assert codes(good, {**good, "record_id": "other"}) == (200, 1254043)
    assert codes({**good, "fields": {"其他": 1}}) == (200, 1254045)
    assert codes({**good, "fields": {"附件": [{"file_token": picture}]}}) == (403, 1254303)
    feishu.limits.table_records = 1
    assert codes(good, good) == (200, 1254104)
    assert feishu.bitable.records["recstandin1"] == {}


def test_a_spreadsheet_in_a_wiki(client: Client, feishu: FeishuStandIn) -> None:
    path = "/open-apis/wiki/v2/spaces/get_node?token="
    node = client.send("GET", path + feishu.wiki_token).json()["data"]["node"]
    assert (node["obj_type"], node["obj_token"]) == ("sheet", feishu.spreadsheet_token)
    assert client.send("GET", path + "other").json()["code"] != 0
