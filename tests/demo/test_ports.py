"""The ports of what is started here: it finds its own one free again when it comes back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.launch import ComfyProcess
from wfrecovery.demo.runninghub_host.stand_in import RunningHubStandIn
from wfrecovery.demo.serving import ports

_GIVEN_BY_LINUX = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[list[int]]:
    with FeishuStandIn() as feishu, RunningHubStandIn({}) as cloud, ComfyProcess(tmp_path) as comfy:
        yield [int(at.url.rsplit(":", 1)[1]) for at in (feishu, cloud, comfy)]


@pytest.mark.skipif(not _GIVEN_BY_LINUX.exists(), reason="only Linux tells which ports it gives away")
def test_no_connection_that_anybody_opens_takes_the_port_of_what_is_down(ours: list[int]) -> None:
    lowest, highest = map(int, _GIVEN_BY_LINUX.read_text().split())
    if lowest < 32768:
        pytest.skip(f"this Linux is set to give away nearly every port: {lowest} to {highest}")
    assert [port for port in ours if lowest <= port <= highest] == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_on_which_somebody_listens_is_not_chosen(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        try:
            other.bind((host, 0))
        except OSError as error:
            pytest.skip(f"no {host} here: {error}")
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(ports, "_PORTS", range(taken, taken + 1))
        with pytest.raises(OSError, match=f"{host} lets nobody listen: tried 100 ports from {taken} to {taken}"):
            ports.free_port(host)
