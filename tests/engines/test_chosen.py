"""WFRECOVERY_ENGINE: which client it gives, and in which words it says that there is none."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wfrecovery import bridge

KEY = "Zq7Xk2Vw9RtJ4Yp8"
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module of the team's into its working directory; its name, which no other test has used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    numbers = itertools.count(1)

    def written(text: str) -> str:
        name = f"office_{tmp_path.name.replace('-', '_')}_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        return name

    return written


def chosen(engine: str, **settings: str) -> Any:
    environ = {"WFRECOVERY_ENGINE": engine, "RUNNINGHUB_API_KEY": KEY, **settings}
    return bridge.engine_from(bridge.load_settings(environ=environ))


def test_without_a_setting_it_is_the_comfyui_at_comfyui_url() -> None:
    for engine in ("", "comfyui"):
        client = chosen(engine, COMFYUI_URL="http://10.0.0.5:8188/")
        assert isinstance(client, bridge.ComfyUIClient)
        assert client.engine == "comfyui:http://10.0.0.5:8188"


def test_runninghub_has_a_short_name() -> None:
    client = chosen("runninghub", RUNNINGHUB_URL="http://127.0.0.1:9")
    assert isinstance(client, bridge.RunningHubClient)
    assert client.base_url == "http://127.0.0.1:9"
    with pytest.raises(bridge.SettingsError, match="RUNNINGHUB_API_KEY is not set"):
        chosen("runninghub", RUNNINGHUB_API_KEY="")


def test_config_toml_can_name_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('engine = "runninghub"\n', "utf-8")
    assert bridge.load_settings(tmp_path / "config.toml", environ={}).engine == "runninghub"


FACTORIES = """
class Client:
    def __init__(self, told="nothing"):
        self.told = told
    def submit(self, workflow, task): ...
    @classmethod
    def made(cls, settings):
        return cls(settings)

def plain():
    return Client()
def takes_one(config):
    return Client(config)
def by_name(settings=None):
    return Client(settings)
def with_a_default(folder="inputs"):
    return Client(folder)
"""


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("plain", "nothing"),
        ("takes_one", bridge.Settings),
        ("by_name", bridge.Settings),
        ("with_a_default", "inputs"),
        ("Client", "nothing"),
        ("Client.made", bridge.Settings),
    ],
)
def test_a_factory_gets_the_settings_where_it_takes_them(write: Write, factory: str, told: Any) -> None:
    client = chosen(f"{write(FACTORIES)}:{factory}")
    assert client.told == told or isinstance(client.told, told)


TROUBLES = {
    "pass": "there is no client in {name}|{name} 里没有 client",
    "client = 3": "{name}:client cannot be called: name a function|{name}:client 不能调用",
    "def client(): return {}": "{name}:client returned a dict, which has neither submit nor|返回了 dict",
    "def client(): 1 / 0": "{name}:client failed: ZeroDivisionError: division by zero|{name}:client 运行出错：Zero",
    "def client(): raise SystemExit(3)": "{name}:client failed: SystemExit: 3|{name}:client 运行出错",
    "def client(a, b): ...": "{name}:client failed: TypeError|{name}:client 运行出错：TypeError",
    "import nobody_has_this": "{name} cannot be imported: ModuleNotFoundError: No module named 'nobody|{name} 无法导入",
    "raise SystemExit('menu')": "{name} cannot be imported: SystemExit: menu|{name} 无法导入",
    "def client(:": "{name} cannot be imported: SyntaxError|{name} 无法导入",
}


@pytest.mark.parametrize("text", TROUBLES)
def test_what_gives_no_client_is_said_in_both_languages(write: Write, text: str) -> None:
    name = write(text)
    with pytest.raises(bridge.SettingsError) as refused:
        chosen(f"{name}:client")
    english, chinese = TROUBLES[text].format(name=name).split("|")
    wording = refused.value.wording
    assert wording.en.startswith(f"WFRECOVERY_ENGINE: {english}")
    assert wording.zh.startswith("WFRECOVERY_ENGINE：")
    assert chinese in wording.zh


def test_a_module_that_is_not_there_is_looked_for_where_the_command_runs(write: Write, tmp_path: Path) -> None:
    del write  # it has changed the working directory
    for engine in ("nobody_has_this:client", "nobody.has_this:client"):
        with pytest.raises(bridge.SettingsError) as refused:
            chosen(engine)
        assert f"there is no module {engine.partition(':')[0]} in {tmp_path}" in refused.value.wording.en
        assert f"{tmp_path} 里没有模块" in refused.value.wording.zh


@pytest.mark.parametrize("engine", ["office", "office:", ":client"])
def test_what_is_no_name_of_a_factory_is_refused(engine: str) -> None:
    with pytest.raises(bridge.SettingsError, match="should be module:factory, or runninghub") as refused:
        chosen(engine)
    assert "应为 module:factory" in refused.value.wording.zh


def test_no_key_is_repeated(write: Write) -> None:
    name = write("def client(settings): raise RuntimeError(f'no such key: {settings.runninghub_api_key}')")
    with pytest.raises(bridge.SettingsError) as refused:
        chosen(f"{name}:client")
    assert "no such key" in refused.value.wording.en
    assert KEY not in refused.value.wording.en + refused.value.wording.zh


def test_what_the_client_says_of_its_own_settings_stays_in_both_languages(write: Write) -> None:
    name = write("from wfrecovery import bridge\nclient = bridge.RunningHubClient.from_settings")
    with pytest.raises(bridge.SettingsError) as refused:
        chosen(f"{name}:client", RUNNINGHUB_API_KEY="")
    assert refused.value.wording.en.startswith(f"{name}:client: RUNNINGHUB_API_KEY is not set")
    assert "没有设置 RUNNINGHUB_API_KEY" in refused.value.wording.zh
