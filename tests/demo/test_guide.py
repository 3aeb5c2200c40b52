"""The guide for a team's own main.py, in both languages: every block of it is run, or compared with what it shows."""

from __future__ import annotations

import ast
import asyncio
import difflib
import inspect
import io
import re
import shlex
import tokenize
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import wfrecovery
from wfrecovery import bridge
from wfrecovery.bridge.cli.arguments import parser_in
from wfrecovery.bridge.engines.in_use import ASK_SECONDS, HANGS_SECONDS
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture
from wfrecovery.demo.launch import ComfyProcess
from wfrecovery.demo.runninghub_host.pictures import draw
from wfrecovery.demo.runninghub_host.stand_in import RunningHubStandIn, Workflow, shows

ROOT = Path(wfrecovery.__file__).parent
GUIDES = {"en": ROOT / "docs" / "main-py.md", "zh": ROOT / "docs" / "main-py.zh-CN.md"}
ROWS = (2, 3)


@dataclass
class Section:
    """A part of the guide under one heading, and its blocks by language."""

    title: str
    text: str = ""
    blocks: dict[str, list[str]] = field(default_factory=dict)


def sections(language: str) -> list[Section]:
    found = []
    for part in re.split(r"^## ", GUIDES[language].read_text("utf-8"), flags=re.MULTILINE):
        section = Section(part.partition("\n")[0], part)
        for kind, block in re.findall(r"^```(\w+)\n(.*?)^```$", part, flags=re.MULTILINE | re.DOTALL):
            section.blocks.setdefault(kind, []).append(block)
        found.append(section)
    return found


def places() -> list[Any]:
    """Each section with a program in it, by its number: the headings are translated."""
    return [
        pytest.param(language, number, id=f"{language}-{section.title}")
        for language in GUIDES
        for number, section in enumerate(sections(language))
        if "python" in section.blocks
    ]


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    rows: list[dict[str, Any]] = [
        {
            "产品图": draw([f"product {number}"], "", "png"),
            "产品名": f"产品{number}",
            "提示词": f"row {number}",
            "图片是否已处理": "否",
        }
        for number in ROWS
    ]
    with FeishuStandIn(rows) as found:
        yield found


@pytest.fixture
def cloud() -> Iterator[RunningHubStandIn]:
    with RunningHubStandIn({"1901": Workflow(nodes={"6": ("text",), "10": ("image",)})}) as found:
        yield found


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyProcess]:
    with ComfyProcess(tmp_path_factory.mktemp("comfyui")) as found:
        yield found


def run(blocks: list[str]) -> None:
    """One after the other, in one namespace and one loop; with `await` at the top, as in an asynchronous main."""
    module = types.ModuleType("main")
    loop = asyncio.new_event_loop()
    try:
        for block in blocks:
            code = compile(block, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if code.co_flags & inspect.CO_COROUTINE:
                loop.run_until_complete(types.FunctionType(code, vars(module))())
            else:
                exec(code, vars(module))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.mark.parametrize(("language", "number"), places())
def test_its_programs_do_what_they_say(
    language: str,
    number: int,
    feishu: FeishuStandIn,
    cloud: RunningHubStandIn,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = sections(language)
    section = every[number]
    local = "ComfyUIClient(" in section.text
    comfy = request.getfixturevalue("comfy").url if local else ""
    (tmp_path / "config.toml").write_text("\n".join(block for one in every for block in one.blocks.get("toml", ())))
    settings = {
        **feishu.environment(),
        "RUNNINGHUB_URL": cloud.url,
        "RUNNINGHUB_API_KEY": cloud.api_key,
        "WFRECOVERY_CONFIG": str(tmp_path / "config.toml"),
        **({"COMFYUI_URL": comfy} if comfy else {}),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    run(section.blocks["python"])
    if "stand_in import" in "".join(section.blocks["python"]):
        return  # it has looked for itself
    for row in ROWS:
        cells = feishu.sheet.row(row)
        assert cells["图片是否已处理"] == "已完成"
        picture = cells["产品模特合成图"]
        assert isinstance(picture, Picture)
        if local:
            with Image.open(io.BytesIO(picture.data)) as shown:
                assert shown.convert("RGB").getpixel((0, 0)) == (0, 0, row)
        else:
            assert shows(picture.data, f"row {row}")
            assert cloud.paid(f"row {row}") == 1


@pytest.mark.parametrize("language", GUIDES)
def test_its_commands_exist(language: str) -> None:
    commands = [
        line.partition("#")[0].strip()
        for section in sections(language)
        for kind in ("console", "sh")
        for block in section.blocks.get(kind, ())
        for line in block.splitlines()
    ]
    assert len(commands) > 6
    for command in commands:
        name, *arguments = shlex.split(command)
        if name == "wfrecovery":
            parser_in("en").parse_args(arguments)
        elif name == "python":
            assert find_spec(arguments[1]) is not None, command
        else:
            assert name == "export"
            assert f'"{arguments[0].partition("=")[0]}"' in (ROOT / "bridge" / "settings.py").read_text("utf-8")


def difference() -> tuple[set[str], set[str], int, int]:
    """The lines that `demo/after` has more and less than `demo/before`, what each says of itself apart."""
    names = {path.name for room in ("before", "after") for path in (ROOT / "demo" / room).iterdir() if path.is_file()}
    more: list[str] = []
    less: list[str] = []
    for name in names - {"__init__.py"}:
        texts = [ROOT / "demo" / room / name for room in ("before", "after")]
        before, after = (path.read_text("utf-8").splitlines() if path.exists() else [] for path in texts)
        for line in list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]:
            if line[0] in "+-":
                (more if line[0] == "+" else less).append(line[1:])
    return set(more), set(less), len(more), len(less)


@pytest.mark.parametrize("language", GUIDES)
def test_its_diff_is_the_real_one(language: str) -> None:
    more, less, added, removed = difference()
    (block,) = [block for section in sections(language) for block in section.blocks.get("diff", ())]
    for line in block.splitlines():
        assert line[1:] in (more if line[0] == "+" else less), line
    assert f"+{added} −{removed}" in GUIDES[language].read_text("utf-8")
    assert added < removed / 3


@pytest.mark.parametrize(("language", "unit"), [("en", "s"), ("zh", "秒")])
def test_its_seconds_are_those_of_the_code(language: str, unit: str) -> None:
    lines = GUIDES[language].read_text("utf-8").splitlines()
    (told,) = [line for line in lines if line.startswith("**") and "`look_up`" in line]
    assert [int(number) for number in re.findall(rf"(\d+) {unit}", told)] == [ASK_SECONDS, HANGS_SECONDS]


@pytest.mark.parametrize("language", GUIDES)
def test_it_tells_of_every_public_name(language: str) -> None:
    promises = sections(language)[-1].text
    assert [name for name in bridge.__all__ if f"`{name}`" not in promises] == []


def without_comments(code: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [token.string for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL)]


def test_both_languages_show_the_same() -> None:
    def code(language: str) -> list[list[str]]:
        return [without_comments(block) for section in sections(language) for block in section.blocks.get("python", ())]

    assert len(code("en")) > 5
    assert code("zh") == code("en")
    for kind in ("toml", "diff"):
        blocks = [[block for one in sections(name) for block in one.blocks.get(kind, ())] for name in GUIDES]
        assert blocks[0] == blocks[1]
    assert len(sections("zh")) == len(sections("en"))


@pytest.mark.parametrize(("readme", "language"), [("README.md", "en"), ("README.zh-CN.md", "zh")])
def test_the_readme_leads_to_it(readme: str, language: str) -> None:
    assert f"](docs/{GUIDES[language].name})" in (ROOT / readme).read_text("utf-8")


@pytest.mark.parametrize("language", GUIDES)
def test_its_links_lead_somewhere(language: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", GUIDES[language].read_text("utf-8"))
    assert [link for link in links if not (GUIDES[language].parent / link).exists()] == []
