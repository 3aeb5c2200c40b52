"""The stand-in Feishu: HTTP itself, and the log of calls. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import socket
from email.utils import parsedate_to_datetime

import pytest
from feishu_caller import ROWS, Client, Clock

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_hosts_that_the_sdk_accepts_over_http(host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 here")
    with FeishuStandIn(ROWS, host=host) as feishu:
        client = Client(feishu)
        with client.session:
            assert client.login()["code"] == 0
        assert feishu.url.startswith("http://" + (f"[{host}]" if ":" in host else host) + ":")


def test_another_host_is_refused() -> None:
    with pytest.raises(ValueError, match="localhost"):
        FeishuStandIn(host="127.0.0.2")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_the_services_clock_may_differ_from_ours(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    feishu.switches.date_shift = 7200
    shown = parsedate_to_datetime(client.raw_v2("GET", "values/sid001").headers["Date"]).timestamp()
    assert shown == clock.now + 7200


def test_header_names_and_the_log_id(client: Client, feishu: FeishuStandIn) -> None:
    assert set(client.raw_v2("GET", "values/sid001").headers) >= {"Content-Type", "X-Tt-Logid"}
    feishu.switches.lowercase_headers = True
    assert set(client.raw_v2("GET", "values/sid001").headers) >= {"content-type", "x-tt-logid"}


def test_the_connection_is_kept(client: Client, feishu: FeishuStandIn) -> None:
    client.read("sid001")
    assert feishu._server is not None
    assert len(feishu._server._open) == 1, "login and reads went over one connection"


def test_the_log_of_calls(client: Client, feishu: FeishuStandIn) -> None:
    client.put("sid001!F2:F2", [["x"]])
    call = feishu.calls[-1]
    assert (call.method, call.operation, call.status, call.code, call.fault) == ("PUT", "values_put", 200, 0, "")
    assert call.ended is not None
    assert call.started <= call.ended
    assert (feishu.count("values_put"), feishu.count("/sheets/"), feishu.count("values_put", code=90202)) == (1, 1, 0)


def test_an_unknown_path(client: Client) -> None:
    assert client.send("GET", "/open-apis/nothing").status_code == 404
