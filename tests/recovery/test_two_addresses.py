"""One sheet by two addresses, a wiki's and its own: for everybody it is one document."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugin_support import until
from publishing_office import SAME, MainPy, Office
from publishing_support import Team, rows

from wfrecovery import bridge
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.publisher import FlushReport
from wfrecovery.bridge.settings import load_settings
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(3)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


def by(feishu: FeishuStandIn, place: str) -> dict[str, str]:
    """Settings with the address of the wiki's page, or of the spreadsheet."""
    token = feishu.wiki_token if place == "wiki" else feishu.spreadsheet_token
    return {**feishu.environment(), "FEISHU_SPREADSHEET_TOKEN": f"https://team.feishu.cn/{place}/{token}"}


class TwoAddresses(Office):
    """The plugin has one address, main.py the other one."""

    def __init__(self, base: Path, feishu: FeishuStandIn, plugin_by: str) -> None:
        self.plugin_by = plugin_by
        super().__init__(base, feishu)

    def environment(self, plugin: str = SAME) -> dict[str, str]:
        return by(self.feishu, self.plugin_by)

    def other_main_py(self) -> MainPy:
        run = MainPy(self, configured=False)
        run.settings = load_settings(environ=by(self.feishu, "sheets" if self.plugin_by == "wiki" else "wiki"))
        client = FeishuClient(run.settings)
        run.recovery = bridge.TaskRecoveryManager(run.db, run.comfy, client, settings=run.settings)
        return run


@pytest.mark.parametrize("plugin_by", ["wiki", "sheets"])
def test_the_plugin_delivers_what_main_py_names_by_the_other_address(
    tmp_path: Path, feishu: FeishuStandIn, plugin_by: str
) -> None:
    with TwoAddresses(tmp_path, feishu, plugin_by) as office:
        document = load_settings(environ=by(feishu, "sheets")).document
        until(lambda: office.comfy.status()["feishu"]["document"] == document)
        main = office.other_main_py()
        main.does(main.renders(), main.recovery.wait_until_done())
        assert office.settled()["metadata"]["feishu"]["state"] == "pushed"
        assert office.theirs()["metadata"]["document"] == main.record().document == document
        assert office.writes() == 1
        assert main.record().publisher == office.comfy.status()["table_id"]


def test_where_it_cannot_be_told_main_py_delivers_itself_and_it_is_said(tmp_path: Path, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.SCOPE_MISSING_99991672, "wiki_get_node", times=None)
    with TwoAddresses(tmp_path, feishu, "wiki") as office:
        main = office.other_main_py()
        main.does(main.renders(), main.recovery.wait_until_done())
        assert office.settled()["metadata"]["feishu"]["state"] == "off"
        office.assert_delivered_once()
        assert "it cannot be told which spreadsheet the settings mean" in office.comfy.log()
        assert feishu.wiki_token not in office.comfy.log()


def test_settings_know_what_any_client_of_the_process_has_asked(feishu: FeishuStandIn) -> None:
    wiki, sheet = (load_settings(environ=by(feishu, place)) for place in ("wiki", "sheets"))
    assert (wiki.in_wiki, sheet.in_wiki) == (True, False)
    assert wiki.document != sheet.document
    FeishuClient(wiki).find_document()
    assert wiki.document == sheet.document
    calls = len(feishu.calls)
    FeishuClient(wiki).find_document()
    assert len(feishu.calls) == calls, "it is asked once"
    assert feishu.wiki_token not in str(wiki.document)


def test_what_was_named_by_the_wiki_s_address_is_delivered_all_the_same(tmp_path: Path, feishu: FeishuStandIn) -> None:
    """A record of an older version, or of the time before Feishu was asked."""
    team = Team(feishu, tmp_path)
    wiki = load_settings(environ=by(feishu, "wiki"))
    former, task_id = wiki.document, team.finished(2)
    team.db.table.update(task_id, lambda task: dataclasses.replace(task, document=former))
    team.settings = wiki
    FeishuClient(wiki).find_document()
    assert former != wiki.document
    assert team.new_publisher().flush().pushed == [task_id]
    assert team.state(task_id) is FeishuState.PUSHED
    team.assert_delivered(task_id)


@pytest.mark.parametrize("first_by", ["wiki", "sheets"])
def test_one_spreadsheet_by_two_addresses_is_never_published_to_at_once(
    tmp_path: Path, feishu: FeishuStandIn, monkeypatch: pytest.MonkeyPatch, first_by: str
) -> None:
    """Two tables, and the very first flush of both: nobody has asked Feishu yet what is behind the wiki's address."""
    monkeypatch.setattr("wfrecovery.bridge.documents._FOUND", {})
    one, other = (Team(feishu, tmp_path / name) for name in ("one", "other"))
    one.settings = load_settings(environ=by(feishu, first_by))
    other.settings = load_settings(environ=by(feishu, "sheets" if first_by == "wiki" else "wiki"))
    mine, theirs = one.finished(2), other.finished(3)
    during: list[FlushReport] = []
    write = FeishuClient.write_picture

    def meanwhile(client: FeishuClient, *arguments: Any) -> Any:
        if not during:
            during.append(other.new_publisher().flush())
        return write(client, *arguments)

    monkeypatch.setattr(FeishuClient, "write_picture", meanwhile)
    assert one.new_publisher().flush().pushed == [mine]
    assert during == [FlushReport(busy=True)]
    assert other.new_publisher().flush().pushed == [theirs]
