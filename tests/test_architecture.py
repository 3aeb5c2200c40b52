"""The house: imports go downwards from room to room, no files import each other in a circle, nothing grows too long."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 400

#: From the top; each may import what stands below it, and itself.
ROOMS = (
    "demo.screenshots",
    "demo.before",
    "demo.after",
    "demo",
    "demo.comfyui_host",
    "demo.feishu_host",
    "demo.runninghub_host",
    "demo.render_nodes",
    "demo.serving",
    "server_routes",
    "server_routes.page",
    "server_routes.recovery",
    "server_routes.queue",
    "server_routes.publishing",
    "server_routes.host",
    "nodes",
    "bridge.cli",
    "bridge.doctor",
    "bridge.recovery",
    "bridge.standstill",
    "bridge.feishu",
    "bridge.engines",
    "bridge.results",
    "bridge.results.containers",
    "bridge.table",
    "bridge.running",
    "bridge.settings",
    "bridge.terminal",
    "bridge.documents",
    "bridge.in_time",
    "bridge.inside",
    "bridge.of_loop",
    "bridge.redact",
    "bridge.secret_names",
    "bridge.wording",
    "bridge.chance",
    "bridge.apart",
    "bridge.version",
)
#: Rooms that stand beside each other: neither imports the other, although one has to be named first.
APART = (
    {"demo.comfyui_host", "demo.feishu_host", "demo.runninghub_host", "demo.render_nodes", "demo.before"},
    {"server_routes.publishing", "server_routes.queue"},
    {"server_routes.publishing", "server_routes.recovery"},
    {"server_routes", "nodes"},
)
#: Only these know what stands under `metadata` in a record's JSON: `mending` makes such JSON anew from a graph file.
READ_METADATA = ("bridge.table.record_json", "bridge.table.mending")
#: These imitate others, or run inside them: of our code they import only their own, and what stand-ins share.
ALONE = (
    "demo.comfyui_host",
    "demo.feishu_host",
    "demo.runninghub_host",
    "demo.render_nodes",
    "demo.serving",
    "demo.before",
)
#: These use the public names, as a user's program does.
USERS = ("demo.main", "demo.after")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    """Every module of ours by its name inside the package; the public names (`bridge`) apart."""
    files = (path for top in ("bridge", "server_routes", "nodes", "demo") for path in (ROOT / top).rglob("*.py"))
    return {module_name(path): path for path in files}


MODULES = modules()


def room_of(name: str) -> str:
    """The innermost room that a module lies in."""
    return max((room for room in ROOMS if name == room or name.startswith(f"{room}.")), key=len, default=name)


def imports_of(name: str) -> Iterator[str]:
    """The modules of ours that a module imports: at its top, for types, or inside a function."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            if base is not None:
                names = [f"{base}.{alias.name}".strip(".") for alias in node.names]
                yield from (found if found in MODULES else base for found in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("wfrecovery.") for alias in node.names if "wfrecovery." in alias.name)


def _base(node: ast.ImportFrom, package: str) -> str | None:
    if node.level:
        parts = package.split(".")
        return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
    if node.module and node.module.split(".")[0] == "wfrecovery":
        return node.module.removeprefix("wfrecovery").strip(".")
    return None


def wrong(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Imports that go up, or from one room to another that stands apart from it."""
    found = []
    for name, targets in graph.items():
        for target in targets:
            above, below = room_of(name), room_of(target)
            apart = any(above != below and {above, below} <= pair for pair in APART)
            outside = above in ALONE and below not in (above, "demo.serving")
            if above in ROOMS and below in ROOMS and (ROOMS.index(below) < ROOMS.index(above) or apart or outside):
                found.append(f"{name} imports {target}")
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    """Of each module, those of ours that it imports."""
    return {name: set(imports_of(name)) - {name, ""} for name in MODULES}


def inside() -> dict[str, set[str]]:
    """The same without `bridge/__init__.py`, which gathers the public names of all rooms, and those who use these."""
    return {name: targets for name, targets in imports().items() if name != "bridge" and not name.startswith(USERS)}


def test_imports_only_go_downwards() -> None:
    assert wrong(inside()) == []


def test_nobody_inside_imports_the_public_names() -> None:
    assert [name for name, targets in inside().items() if "bridge" in targets] == []


def test_every_module_has_a_room() -> None:
    assert [name for name in inside() if room_of(name) not in ROOMS] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize(
    "upwards",
    [
        {"bridge.table.records": ["bridge.feishu.sheet"]},
        {"bridge.settings": ["bridge.table.records"]},
        {"bridge.feishu.client": ["bridge.recovery.decisions"]},
        {"server_routes.queue.recorder": ["server_routes.page.events"]},
        {"server_routes.page.routes": ["server_routes.plugin"]},
        {"demo.comfyui_host.server": ["demo.feishu_host.sheet"]},
        {"bridge.doctor.checks": ["bridge.cli.context"]},
        {"nodes.row_task": ["server_routes.host"]},
    ],
)
def test_an_import_that_goes_up_is_seen(upwards: dict[str, list[str]]) -> None:
    assert len(wrong(upwards)) == 1


def test_bridge_imports_nothing_of_comfyui() -> None:
    foreign = ("import folder_paths", "import execution", "import server\n", "from server import")
    texts = {name: path.read_text("utf-8") for name, path in MODULES.items() if name.startswith("bridge")}
    assert [name for name, text in texts.items() if any(word in text for word in foreign)] == []


def looks_into_metadata(code: str) -> bool:
    """Whether it takes a record's JSON apart, instead of asking for the record's values."""
    for node in ast.walk(ast.parse(code)):
        keys: list[ast.expr | None] = []
        match node:
            case ast.Subscript():
                keys = [node.slice]
            case ast.Call(func=ast.Attribute(attr="get" | "pop" | "setdefault")):
                keys = [*node.args[:1]]
            case ast.MatchMapping():
                keys = [*node.keys]
        if any(isinstance(key, ast.Constant) and key.value == "metadata" for key in keys):
            return True
    return False


def test_a_records_json_is_read_and_written_in_one_place() -> None:
    ours = {name: path for name, path in MODULES.items() if name.split(".")[0] in ("bridge", "server_routes")}
    found = {name for name, path in ours.items() if looks_into_metadata(path.read_text("utf-8"))}
    assert found == set(READ_METADATA)


@pytest.mark.parametrize(
    "code",
    [
        'stage = record["metadata"]["stage"]',
        'state = record.get("metadata", {}).get("feishu")',
        'record["metadata"] = {}',
        'metadata = record.pop("metadata")',
        'del record["metadata"]',
        """match record:
    case {"metadata": {"stage": stage}}:
        pass""",
    ],
)
def test_a_look_into_a_records_json_is_seen(code: str) -> None:
    assert looks_into_metadata(code)
    assert not looks_into_metadata(code.replace("metadata", "extra_data"))


def test_nobody_waits_with_what_loses_a_cancellation() -> None:
    """`bridge/in_time.py` says why."""
    rooms = [path for room in ("bridge", "server_routes", "nodes") for path in (ROOT / room).rglob("*.py")]
    assert [path for path in rooms if "asyncio.wait_for(" in path.read_text("utf-8")] == []


def test_nobody_holds_what_raises_where_its_loop_was_left() -> None:
    """`bridge/of_loop.py` says why."""
    made = re.compile(r"asyncio\.(Lock|Semaphore|BoundedSemaphore|Condition)\b(?!\):)")
    rooms = [path for path in (ROOT / "bridge").rglob("*.py") if made.search(path.read_text("utf-8"))]
    assert rooms == []


def test_no_module_and_no_style_sheet_is_too_long() -> None:
    files = [*MODULES.values(), *(ROOT / "web").rglob("*.mjs"), *(ROOT / "web").rglob("*.js")]
    files += (ROOT / "web").rglob("*.css")
    assert len(files) > 100
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_each_room_says_what_it_is_for() -> None:
    """Its first lines: what for, what it may import, where to start reading."""
    rooms = [path for name, path in MODULES.items() if path.name == "__init__.py" and name not in ("nodes",)]
    for path in rooms:
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        assert len(text.splitlines()) >= 2 or path.parent.name == "bridge", path
