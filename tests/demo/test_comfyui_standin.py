"""The stand-in behaves as ComfyUI does: the same assertions run on both its shapes and on a real ComfyUI.

A small probe plugin is loaded into each host, to see what plugins see. The last tests break the host on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from wfrecovery.demo import render_nodes
from wfrecovery.demo.comfyui_host import execution
from wfrecovery.demo.launch import ComfyNotStartedError, ComfyProcess, find_comfyui

av = pytest.importorskip("av")
pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

Graph = dict[str, Any]

PROBE = """
import asyncio, atexit, inspect, threading
from pathlib import Path
from aiohttp import web
import execution, folder_paths, nodes
from server import PromptServer

WEB_DIRECTORY = "./web"
srv = PromptServer.instance

def alive():
    return any(t.name.endswith("(prompt_worker)") and t.is_alive() for t in threading.enumerate())

facts = {
    "module": __name__,
    "main thread": threading.current_thread() is threading.main_thread(),
    "in the loop": asyncio.get_running_loop() is srv.loop,
    "address at import": hasattr(srv, "address"),
    "frozen at import": srv.app.frozen,
    "worker at import": alive(),
    "nodes at import": "SaveImage" in nodes.NODE_CLASS_MAPPINGS,
    "six": "process_item" in inspect.signature(execution.PromptQueue.task_done).parameters,
    "secret keys": list(execution.SENSITIVE_EXTRA_DATA_KEYS),
    "system user directory": hasattr(folder_paths, "get_system_user_directory"),
    "output": folder_paths.get_output_directory(),
    "task_done": [],
}
here = Path(__file__).absolute().parent
atexit.register(lambda: (here / "atexit").write_text("ran"))

async def up(app):
    facts["address at startup"] = hasattr(srv, "address")
    facts["worker at startup"] = alive()
    original = srv.prompt_queue.task_done
    def task_done(*args, **kwargs):
        facts["task_done"].append([len(args), sorted(kwargs)])
        return original(*args, **kwargs)
    srv.prompt_queue.task_done = task_done

async def down(app):
    (here / "on_shutdown").write_text("ran")

srv.app.on_startup.append(up)
srv.app.on_shutdown.append(down)
srv.app.on_cleanup.append(down)

def handler(json_data):
    facts["handler thread"] = threading.current_thread() is threading.main_thread()
    wanted = json_data.get("probe")
    if wanted == "none":
        return None
    if wanted == "raise":
        raise RuntimeError("a broken handler")
    if wanted == "add":
        extra = json_data.setdefault("extra_data", {})
        extra.setdefault("extra_pnginfo", {})["probe"] = {"task": "t1"}
    return json_data

srv.add_on_prompt_handler(handler)

@srv.routes.get("/probe/facts")
async def get_facts(request):
    facts["address now"] = getattr(srv, "address", None)
    facts["worker now"] = alive()
    facts["node now"] = srv.last_node_id
    return web.json_response(facts)

@srv.routes.post("/probe/put")
async def put(request):
    body = await request.json()
    srv.prompt_queue.put(tuple(body["item"]))
    return web.json_response({})

@srv.routes.post("/probe/again")
async def again(request):
    body = await request.json()
    post = next(r.handler for r in srv.routes if getattr(r, "method", "") == "POST" and r.path == "/prompt")
    class Stand:
        headers = {}
        async def json(self):
            return body
    response = await post(Stand())
    return web.Response(status=response.status, text=response.text, content_type="application/json")

class ProbeExit:
    CATEGORY = "probe"
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}
    def run(self, image):
        raise SystemExit(3)

NODE_CLASS_MAPPINGS = {"ProbeExit": ProbeExit}
"""


def write_plugins(folder: Path) -> list[Path]:
    """The probe, and plugins that are wrong in different ways."""
    sources = {
        "probe.v1": PROBE,
        "broken": "raise RuntimeError('this plugin is broken')",
        "empty": "x = 1",
        "off.disabled": "raise SystemExit('loaded although disabled')",
    }
    for name, source in sources.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(source, encoding="utf-8")
    probe = folder / "probe.v1"
    files = {
        "web/a.js": "export {}",
        "web/sub/b.js": "export {}",
        "web/c.css": "",
        "locales/zh/main.json": json.dumps({"menuLabels": {"Recover": "恢复"}}),
        "locales/zh/nodeDefs.json": json.dumps({"ProbeExit": {"display_name": "退出"}}),
        "example_workflows/first.json": "{}",
    }
    for name, text in files.items():
        (probe / name).parent.mkdir(parents=True, exist_ok=True)
        (probe / name).write_text(text, encoding="utf-8")
    return [folder / name for name in sources]


@dataclass
class Host:
    """A running ComfyUI and the ways to talk to it."""

    process: ComfyProcess
    plugins: list[Path]
    render_log: Path
    six: bool
    session: requests.Session = field(default_factory=requests.Session)
    colour: int = 0

    @property
    def url(self) -> str:
        return self.process.url

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=180, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.session.post(self.url + path, json=body, timeout=180, **more)

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.get("/probe/facts").json()
        return facts

    def submit(self, graph: Graph, **more: Any) -> str:
        answer = self.post("/prompt", {"prompt": graph, **more})
        assert answer.status_code == 200, answer.text
        prompt_id: str = answer.json()["prompt_id"]
        return prompt_id

    def refused(self, graph: Any, **more: Any) -> dict[str, Any]:
        answer = self.post("/prompt", {"prompt": graph, **more})
        assert answer.status_code == 400, answer.text
        assert set(answer.json()) == {"error", "node_errors"}
        assert set(answer.json()["error"]) == {"type", "message", "details", "extra_info"}
        body: dict[str, Any] = answer.json()
        return body

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        entry: dict[str, Any] | None = self.get(f"/history/{prompt_id}").json().get(prompt_id)
        return entry

    def finished(self, prompt_id: str) -> dict[str, Any]:
        return wait_for(lambda: self.history(prompt_id), f"the end of {prompt_id}")

    def run(self, graph: Graph, **more: Any) -> dict[str, Any]:
        return self.finished(self.submit(graph, **more))

    def running(self) -> list[str]:
        return [item[1] for item in self.get("/queue").json()["queue_running"]]

    def pending(self) -> list[str]:
        return [item[1] for item in self.get("/queue").json()["queue_pending"]]

    def picture(self, prefix: str = "t", **inputs: Any) -> Graph:
        """A prompt that no earlier one has computed."""
        self.colour += 1
        image = {"width": 64, "height": 48, "batch_size": 1, "color": self.colour, **inputs}
        return {
            "1": {"class_type": "EmptyImage", "inputs": image},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
        }

    def through(self, class_type: str, **inputs: Any) -> Graph:
        """A new picture that goes through one more node before it is saved."""
        graph = self.picture()
        graph["9"] = {"class_type": class_type, "inputs": {"image": ["1", 0], **inputs}}
        graph["2"]["inputs"]["images"] = ["9", 0]
        return graph

    def block(self) -> str:
        """Keep the worker busy until it is interrupted."""
        prompt_id = self.submit(self.through("WfrSleep", seconds=600))
        wait_for(lambda: self.running() == [prompt_id], "the blocking prompt")
        return prompt_id

    def unblock(self, prompt_id: str) -> dict[str, Any]:
        def stopped() -> dict[str, Any] | None:
            # Again and again: what came before the prompt began is forgotten when it begins.
            self.post("/interrupt", {"prompt_id": prompt_id})
            return self.history(prompt_id)

        return wait_for(stopped, "the interruption")


def wait_for(look: Callable[[], Any], what: str, timeout: float = 180) -> Any:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def real_comfyui() -> Path:
    found = find_comfyui()
    if found is None:
        pytest.skip("no real ComfyUI here: neither COMFYUI_PATH nor ~/comfy/ComfyUI")
    return found


def generation(version: str) -> bool:
    """Whether a real ComfyUI is of the generation with six elements."""
    numbers = tuple(int(part) for part in version.split(".")[:3])
    if (0, 3, 67) <= numbers < (0, 25, 0):
        pytest.skip(f"ComfyUI {version} lies between the two generations that the stand-in imitates")
    return numbers >= (0, 25, 0)


@pytest.fixture(scope="module", params=["shape5", "shape6", "real"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp(request.param)
    plugins = [*write_plugins(folder / "plugins"), Path(render_nodes.__file__).parent]
    log = folder / "renders"
    process = ComfyProcess(
        folder / "base",
        real=real_comfyui() if request.param == "real" else None,
        shape=5 if request.param == "shape5" else 6,
        plugins=plugins,
        env={"WFR_RENDER_LOG": str(log)},
    )
    try:
        process.start()
    except ComfyNotStartedError as error:
        if request.param == "real" and "ModuleNotFoundError" in str(error):
            # Its own requirements are not installed; that says nothing about us.
            pytest.skip(f"the ComfyUI found here does not start: {str(error).splitlines()[-1]}")
        raise
    with process, requests.Session() as session:
        session.trust_env = False
        version = session.get(process.url + "/system_stats", timeout=180).json()["system"]["comfyui_version"]
        yield Host(process, plugins, log, generation(version), session)


# -- plugins and start -----------------------------------------------------------------------------------------


def test_plugin_is_imported_on_the_main_thread_in_the_running_loop(host: Host) -> None:
    facts = host.facts()
    assert facts["main thread"]
    assert facts["in the loop"]
    assert facts["nodes at import"]
    assert not facts["frozen at import"]
    assert not facts["address at import"]
    assert not facts["worker at import"]
    assert facts["module"] == str(host.process.base / "custom_nodes" / "probe.v1").replace(".", "_x_")
    assert facts["output"] == str(host.process.output)


def test_startup_handlers_run_before_the_port_is_open(host: Host) -> None:
    facts = host.facts()
    assert facts["worker at startup"]
    assert not facts["address at startup"]
    assert facts["address now"] == "127.0.0.1"


def test_signature_tells_the_shape(host: Host) -> None:
    facts = host.facts()
    assert facts["six"] is host.six
    assert facts["system user directory"] is host.six
    assert facts["secret keys"] == ["auth_token_comfy_org", "api_key_comfy_org"]


def test_bad_plugins_do_not_stop_the_host(host: Host) -> None:
    log = host.process.log()
    assert "this plugin is broken" in log
    assert "empty module for custom nodes due to the lack of NODE_CLASS_MAPPINGS" in log
    assert "loaded although disabled" not in log


def test_plugin_files_and_routes(host: Host) -> None:
    listed = host.get("/extensions").json()
    assert {"/extensions/probe.v1/a.js", "/extensions/probe.v1/sub/b.js"} <= set(listed)
    assert not [path for path in listed if path.endswith(".css")]
    assert host.get("/extensions/probe.v1/a.js").text == "export {}"
    assert host.get("/extensions/probe.v1/c.css").status_code == 200
    assert host.get("/api/i18n").json()["zh"] == {
        "menuLabels": {"Recover": "恢复"},
        "nodeDefs": {"ProbeExit": {"display_name": "退出"}},
    }
    assert host.get("/api/workflow_templates").json()["probe.v1"] == ["first"]
    assert host.get("/api/workflow_templates/probe.v1/first.json").json() == {}
    assert host.get("/api/probe/facts").status_code == host.get("/probe/facts").status_code == 200
    info = host.get("/object_info/WfrSleep").json()["WfrSleep"]
    assert info["input"]["required"]["image"] == ["IMAGE"]
    assert info["python_module"] == "custom_nodes.render_nodes"


def test_built_in_nodes_say_which_of_comfyui_s_modules_they_stand_for(host: Host) -> None:
    modules = {name: info["python_module"] for name, info in host.get("/object_info").json().items()}
    of_nodes = ("EmptyImage", "LoadImage", "SaveImage", "PreviewImage", "ImageScale", "ImageBatch")
    assert {modules[name] for name in of_nodes} == {"nodes"}
    assert {modules[name] for name in ("CreateVideo", "SaveVideo")} == {"comfy_extras.nodes_video"}


def test_page_routes_answer(host: Host) -> None:
    for path in ("/users", "/settings", "/embeddings", "/models", "/experiment/models", "/features", "/queue"):
        assert host.get(f"/api{path}").status_code == 200, path
    assert "output" not in host.get("/api/models").json()
    assert host.post("/api/settings/Comfy.Locale", "zh").status_code == 200
    assert host.get("/api/settings/Comfy.Locale").json() == "zh"
    assert host.post("/api/settings", {"Other": 1}).status_code == 200
    assert host.get("/api/settings").json() == {"Comfy.Locale": "zh", "Other": 1}
    assert host.session.post(f"{host.url}/api/userdata/workflows%2Fa.json", data=b"{}", timeout=180).json()
    assert host.get("/api/userdata/workflows%2Fa.json").content == b"{}"
    assert host.get("/api/userdata", params={"dir": "workflows"}).json() == ["a.json"]
    assert host.get("/api/userdata", params={"dir": "nothing"}).status_code == 404
    assert host.get("/api/userdata").status_code == 400
    assert host.session.delete(f"{host.url}/api/userdata/workflows%2Fa.json", timeout=180).status_code == 204
    assert "entries" in host.get("/internal/logs/raw").json()


# -- a prompt that succeeds ------------------------------------------------------------------------------------


def test_picture_history_and_metadata(host: Host) -> None:
    graph = host.picture("wf/test", batch_size=2)
    extra_data = {"extra_pnginfo": {"workflow": {"id": "w"}, "wfrecovery": {"task_id": "img_1"}}}
    prompt_id = host.submit(graph, extra_data=extra_data)
    entry = host.finished(prompt_id)
    assert set(entry) == {"prompt", "outputs", "status", "meta"}
    number, entry_id, entry_graph, entry_extra, outputs = entry["prompt"]
    assert isinstance(number, int)
    assert (entry_id, entry_graph, outputs) == (prompt_id, graph, ["2"])
    assert ("create_time" in entry_extra) is host.six
    names = [image["filename"] for image in entry["outputs"]["2"]["images"]]
    assert names == ["test_00001_.png", "test_00002_.png"]
    assert entry["outputs"]["2"]["images"][0] == {"filename": names[0], "subfolder": "wf", "type": "output"}
    assert entry["meta"]["2"] == {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}
    status = entry["status"]
    assert (status["status_str"], status["completed"]) == ("success", True)
    assert [event for event, _ in status["messages"]] == ["execution_start", "execution_cached", "execution_success"]
    assert all(isinstance(data["timestamp"], int) for _, data in status["messages"])
    with Image.open(host.process.output / "wf" / names[0]) as picture:
        assert picture.size == (64, 48)
        assert json.loads(picture.text["prompt"]) == graph
        assert json.loads(picture.text["wfrecovery"]) == {"task_id": "img_1"}
        assert json.loads(picture.text["workflow"]) == {"id": "w"}


def test_counter_goes_on_from_the_highest_file(host: Host) -> None:
    folder = host.process.output / "counted"
    folder.mkdir()
    (folder / "x_00041_.png").touch()
    entry = host.run(host.picture("counted/x"))
    assert entry["outputs"]["2"]["images"][0]["filename"] == "x_00042_.png"


def test_video(host: Host) -> None:
    graph = {
        "1": host.picture(batch_size=8, height=64)["1"],
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": "video/wf", "format": "mp4", "codec": "h264"},
        },
    }
    entry = host.run(graph, extra_data={"extra_pnginfo": {"wfrecovery": {"task_id": "vid_1"}}})
    video = {"filename": "wf_00001_.mp4", "subfolder": "video", "type": "output"}
    assert entry["outputs"]["3"] == {"images": [video], "animated": [True]}
    with av.open(str(host.process.output / "video" / "wf_00001_.mp4")) as container:
        assert json.loads(container.metadata["wfrecovery"]) == {"task_id": "vid_1"}
        assert set(json.loads(container.metadata["prompt"])) == {"1", "2", "3"}
        assert container.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in container.decode(video=0)) == 8


def test_preview_goes_to_temp(host: Host) -> None:
    graph = host.picture()
    graph["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    (image,) = host.run(graph)["outputs"]["2"]["images"]
    assert image["type"] == "temp"
    assert image["filename"].startswith("ComfyUI_temp_")
    assert host.get("/view", params=image).headers["Content-Type"] == "image/png"


def test_pack_renders_and_counts(host: Host) -> None:
    graph = host.picture()
    other = host.picture(width=160, height=120)["1"]
    graph["3"] = other
    graph["4"] = {
        "class_type": "WfrComposite",
        "inputs": {"product": ["1", 0], "model": ["3", 0], "prompt": "红色 T-shirt", "seconds": 0.1},
    }
    graph["5"] = {"class_type": "WfrAnimate", "inputs": {"image": ["4", 0], "frames": 3, "seconds": 0.1}}
    graph["2"]["inputs"]["images"] = ["5", 0]
    graph["6"] = {
        "class_type": "WfrSlowSave",
        "inputs": {"images": ["4", 0], "filename_prefix": "slow", "seconds": 0.1},
    }
    prompt_id = host.submit(graph, extra_data={"extra_pnginfo": {"wfrecovery": 1}})
    entry = host.finished(prompt_id)
    assert entry["status"]["completed"], entry["status"]
    assert len(entry["outputs"]["2"]["images"]) == 3
    with Image.open(host.process.output / "slow_00001_.png") as picture:
        assert picture.size == (160, 120)
        assert json.loads(picture.text["wfrecovery"]) == 1
    lines = [json.loads(line) for line in host.render_log.read_text(encoding="utf-8").splitlines()]
    mine = [line for line in lines if line["prompt_id"] == prompt_id]
    assert sorted((line["node"], line["node_id"]) for line in mine) == [("WfrAnimate", "5"), ("WfrComposite", "4")]
    assert any(line["text"] == "红色 T-shirt" for line in mine)


def test_cached_run_writes_nothing_and_names_the_old_file(host: Host) -> None:
    graph = host.picture("cached/x")
    first = host.run(graph, extra_data={"extra_pnginfo": {"wfrecovery": "first"}})
    again = host.run(graph, extra_data={"extra_pnginfo": {"wfrecovery": "second"}})
    assert again["status"]["completed"]
    assert dict(again["status"]["messages"])["execution_cached"]["nodes"] == ["1", "2"]
    assert again["outputs"] == first["outputs"]
    assert len(list((host.process.output / "cached").iterdir())) == 1
    # Only the previous prompt's results are kept.
    host.run(host.picture())
    third = host.run(graph)
    assert dict(third["status"]["messages"])["execution_cached"]["nodes"] == []
    assert third["outputs"]["2"]["images"][0]["filename"] == "x_00002_.png"


def test_changed_input_file_is_not_cached(host: Host) -> None:
    file = host.process.base / "input" / "changing.png"
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "changing.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "loaded"}},
    }
    for number, colour in enumerate(("red", "red", "blue")):
        Image.new("RGB", (16, 16), colour).save(file)
        cached = dict(host.run(graph)["status"]["messages"])["execution_cached"]["nodes"]
        assert cached == (["1", "2"] if number == 1 else [])


def test_every_frame_of_an_input_file_is_a_picture(host: Host) -> None:
    frames = [Image.effect_noise((24, 16), 60) for _ in range(3)]
    frames[0].save(host.process.base / "input" / "moving.gif", save_all=True, append_images=frames[1:])
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "moving.gif"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "moving"}},
    }
    assert len(host.run(graph)["outputs"]["2"]["images"]) == 3


# -- intake ----------------------------------------------------------------------------------------------------


def test_refused_bodies(host: Host) -> None:
    answer = host.session.post(f"{host.url}/prompt", data=b"not json", timeout=180)
    assert answer.status_code == 500
    answer = host.post("/prompt", {"extra_data": {}})
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "type": "no_prompt",
        "message": "No prompt provided",
        "details": "No prompt provided",
        "extra_info": {},
    }


def test_unknown_node(host: Host) -> None:
    graph = host.picture()
    graph["7"] = {"class_type": "NoSuchNode", "inputs": {}, "_meta": {"title": "My node"}}
    error = host.refused(graph)["error"]
    assert error["type"] == ("missing_node_type" if host.six else "invalid_prompt")
    assert error["details"] == "Node ID '#7'"
    if host.six:
        assert error["extra_info"] == {"node_id": "7", "class_type": "NoSuchNode", "node_title": "My node"}
    graph["7"].pop("class_type")
    assert host.refused(graph)["error"]["type"] in {"missing_node_type", "invalid_prompt"}


def test_no_outputs(host: Host) -> None:
    graph = host.picture()
    del graph["2"]
    assert host.refused(graph)["error"]["type"] == "prompt_no_outputs"
    assert host.refused({})["error"]["type"] == "prompt_no_outputs"


@pytest.mark.parametrize(
    ("node", "change", "kind", "details"),
    [
        ("1", {"width": None}, "invalid_input_type", "width"),
        ("1", {"width": 0}, "value_smaller_than_min", "width"),
        ("1", {"batch_size": 5000}, "value_bigger_than_max", "batch_size"),
        ("1", {"width": "wide"}, "invalid_input_type", "width, wide"),
        ("1", {"width": ["1"]}, "bad_linked_input", "width"),
        ("2", {"images": ["2", 0]}, "exception_during_validation", ""),
        ("3", {"crop": "somewhere"}, "value_not_in_list", "crop: 'somewhere' not in ['disabled', 'center']"),
        ("3", {"crop": ["1", 0]}, "return_type_mismatch", "crop, received_type(IMAGE)"),
        ("4", {"image": "gone.png"}, "custom_validation_failed", "image - Invalid image file: gone.png"),
    ],
)
def test_invalid_inputs(host: Host, node: str, change: dict[str, Any], kind: str, details: str) -> None:
    graph = host.picture()
    if node == "3":
        scale = {"image": ["1", 0], "upscale_method": "bilinear", "width": 8, "height": 8, "crop": "center"}
        graph["3"] = {"class_type": "ImageScale", "inputs": scale}
        graph["2"]["inputs"]["images"] = ["3", 0]
    if node == "4":
        graph["4"] = {"class_type": "LoadImage", "inputs": {}}
        graph["2"]["inputs"]["images"] = ["4", 0]
    graph[node]["inputs"].update(change)
    body = host.refused(graph)
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert set(body["node_errors"]) == {node}
    found = body["node_errors"][node]
    assert found["class_type"] == graph[node]["class_type"]
    assert found["dependent_outputs"] == ["2"]
    assert found["errors"][0]["type"] == kind
    assert found["errors"][0]["details"].startswith(details)
    assert set(found["errors"][0]) == {"type", "message", "details", "extra_info"}


def test_missing_input(host: Host) -> None:
    graph = host.picture()
    del graph["1"]["inputs"]["width"]
    body = host.refused(graph)
    assert body["node_errors"]["1"]["errors"] == [
        {
            "type": "required_input_missing",
            "message": "Required input is missing",
            "details": "width",
            "extra_info": {"input_name": "width"},
        }
    ]


def test_partly_valid_graph_runs_its_good_outputs(host: Host) -> None:
    graph = host.picture()
    graph["3"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "t"}}
    answer = host.post("/prompt", {"prompt": graph})
    assert answer.status_code == 200
    assert set(answer.json()["node_errors"]) == {"3"}
    entry = host.finished(answer.json()["prompt_id"])
    assert entry["prompt"][4] == ["2"]
    assert set(entry["outputs"]) == {"2"}


def test_partial_execution_targets(host: Host) -> None:
    graph = host.picture()
    graph["3"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "other"}}
    entry = host.run(graph, partial_execution_targets=["3"])
    assert entry["prompt"][4] == ["3"]
    assert set(entry["outputs"]) == {"3"}
    assert host.refused(graph, partial_execution_targets=[])["error"]["type"] == "prompt_no_outputs"


def test_validation_changes_the_inputs(host: Host) -> None:
    graph = host.picture()
    graph["1"]["inputs"].update(width="32", height=16.9)
    inputs = host.run(graph)["prompt"][2]["1"]["inputs"]
    assert (inputs["width"], inputs["height"]) == (32, 16)


def test_number_is_used_up_by_a_refused_prompt(host: Host) -> None:
    first = host.post("/prompt", {"prompt": host.picture()}).json()["number"]
    host.refused({})
    host.post("/prompt", {})
    second = host.post("/prompt", {"prompt": host.picture()}).json()["number"]
    assert second == first + 3
    front = host.post("/prompt", {"prompt": host.picture(), "front": True}).json()["number"]
    assert front == -(second + 1)
    given = host.post("/prompt", {"prompt": host.picture(), "number": "7"}).json()["number"]
    assert given == 7.0


def test_prompt_id(host: Host) -> None:
    mine = str(uuid.uuid4())
    assert host.submit(host.picture(), prompt_id=mine) == mine
    # Nobody checks that it is unique: the later entry replaces the earlier.
    host.finished(mine)
    assert host.submit(host.picture("second"), prompt_id=mine) == mine
    wait_for(lambda: "second" in str((host.history(mine) or {})["outputs"]), "the second prompt of that id")
    for odd in ("abc", mine.upper(), uuid.uuid4().hex, 123):
        answer = host.post("/prompt", {"prompt": host.picture(), "prompt_id": odd})
        if host.six:
            assert answer.status_code == 400
            assert answer.json()["error"]["type"] == "invalid_prompt_id"
        else:
            assert answer.json()["prompt_id"] == str(odd)
    answer = host.post("/prompt", {"prompt": host.picture(), "prompt_id": None}).json()["prompt_id"]
    assert (answer == "None") is not host.six
    if host.six:
        assert str(uuid.UUID(answer)) == answer


def test_on_prompt_handlers(host: Host) -> None:
    entry = host.run(host.picture(), probe="add")
    assert host.facts()["handler thread"]
    assert entry["prompt"][3]["extra_pnginfo"] == {"probe": {"task": "t1"}}
    (image,) = entry["outputs"]["2"]["images"]
    with Image.open(host.process.output / image["filename"]) as picture:
        assert json.loads(picture.text["probe"]) == {"task": "t1"}
    assert host.run(host.picture(), probe="raise")["status"]["completed"]
    assert "a broken handler" in host.process.log()
    assert host.post("/prompt", {"prompt": host.picture(), "probe": "none"}).status_code == 500


def test_prompt_handler_can_be_called_in_process(host: Host) -> None:
    mine = str(uuid.uuid4())
    answer = host.post("/probe/again", {"prompt": host.picture(), "prompt_id": mine, "number": 5})
    assert answer.json() == {"prompt_id": mine, "number": 5.0, "node_errors": {}}
    assert host.finished(mine)["status"]["completed"]


def test_task_done_is_called_as_by_comfyui(host: Host) -> None:
    host.run(host.picture())
    assert host.facts()["task_done"][-1] == [2, ["process_item", "status"] if host.six else ["status"]]


# -- queue -----------------------------------------------------------------------------------------------------


def test_queue_order_delete_and_clear(host: Host) -> None:
    blocking = host.block()
    ids = [host.submit(host.picture()) for _ in range(3)]
    early = host.submit(host.picture(), number=-1000)
    assert host.running() == [blocking]
    assert host.pending()[0] == early
    assert set(host.pending()) == {early, *ids}
    assert host.get("/prompt").json() == {"exec_info": {"queue_remaining": 5}}
    assert host.post("/queue", {"delete": [ids[1], "unknown"]}).status_code == 200
    assert set(host.pending()) == {early, ids[0], ids[2]}
    assert host.post("/queue", {"clear": True}).status_code == 200
    assert host.pending() == []
    assert host.running() == [blocking]
    host.unblock(blocking)
    assert host.history(ids[1]) is None
    assert host.history(ids[2]) is None


def test_queue_items(host: Host) -> None:
    blocking = host.block()
    secret = {"auth_token_comfy_org": "s3cret"}
    waiting = host.submit(host.picture(), extra_data=dict(secret), client_id="somebody")
    (item,) = host.get("/queue").json()["queue_pending"]
    assert len(item) == 5
    assert item[3]["client_id"] == "somebody"
    # 0.3.64 shows secrets until the prompt is done; later they are in an element that nobody is shown.
    assert ("auth_token_comfy_org" in item[3]) is not host.six
    host.unblock(blocking)
    assert "s3cret" not in json.dumps(host.finished(waiting))


def test_same_number_and_id_is_refused_but_queued(host: Host) -> None:
    blocking = host.block()
    twin = str(uuid.uuid4())
    host.submit(host.picture(), prompt_id=twin, number=3)
    assert host.post("/prompt", {"prompt": host.picture(), "prompt_id": twin, "number": 3}).status_code == 500
    assert host.pending() == [twin, twin]
    # A number that is equal alone does no harm.
    assert host.submit(host.picture(), number=3)
    host.post("/queue", {"clear": True})
    host.unblock(blocking)


def test_interrupted(host: Host) -> None:
    # Only of a prompt with a client it is told which node runs: an earlier one must not be what is interrupted.
    blocking = host.submit(host.through("WfrSleep", seconds=600), client_id="a client")
    wait_for(lambda: host.facts()["node now"] == "9", "the blocking node")
    assert host.post("/interrupt", {"prompt_id": str(uuid.uuid4())}).status_code == 200
    time.sleep(0.3)
    assert host.running() == [blocking]
    assert host.history(blocking) is None
    status = host.unblock(blocking)["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    event, data = status["messages"][-1]
    assert event == "execution_interrupted"
    assert set(data) == {"prompt_id", "node_id", "node_type", "executed", "timestamp"}
    assert (data["node_id"], data["node_type"]) == ("9", "WfrSleep")


def test_node_error(host: Host) -> None:
    entry = host.run(host.through("WfrFail", message="no such colour"))
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    event, data = entry["status"]["messages"][-1]
    assert event == "execution_error"
    assert data["exception_message"] == "no such colour\n"
    assert data["exception_type"] == "ValueError"
    assert (data["node_id"], data["node_type"]) == ("9", "WfrFail")
    assert data["current_inputs"]["message"] == ["no such colour"]
    assert data["traceback"]
    assert entry["outputs"] == {}
    # The next prompt is not hurt.
    assert host.run(host.picture())["status"]["completed"]


def test_history_ranges_delete_and_clear(host: Host) -> None:
    ids = [host.submit(host.picture()) for _ in range(3)]
    for prompt_id in ids:
        host.finished(prompt_id)
    assert list(host.get("/history", params={"max_items": 2}).json()) == ids[1:]
    everything = list(host.get("/history").json())
    assert list(host.get("/history", params={"max_items": 2, "offset": 1}).json()) == everything[1:3]
    assert host.get("/history/unknown").json() == {}
    host.post("/history", {"delete": [ids[0], "unknown"]})
    assert host.history(ids[0]) is None
    host.post("/history", {"clear": True})
    assert host.get("/history").json() == {}


# -- websocket -------------------------------------------------------------------------------------------------


async def _listen(host: Host, client_id: str, graph: Graph, named: bool) -> tuple[str, list[tuple[str, Any]]]:
    """Submit and hear everything until its end is told, or the queue's where that is another client's; and then until
    nothing more comes."""
    heard: list[tuple[str, Any]] = []

    def over() -> bool:
        event, data = heard[-1]
        if named:
            return event == "executing" and data["node"] is None
        return event == "status" and data["status"]["exec_info"]["queue_remaining"] == 0

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{host.url}/ws?clientId={client_id}", timeout=aiohttp.ClientWSTimeout(ws_close=1)) as ws,
    ):
        hello = await ws.receive_json(timeout=180)
        assert hello["type"] == "status"
        assert hello["data"]["sid"] == client_id
        body = {"prompt": graph, **({"client_id": client_id} if named else {})}
        async with session.post(f"{host.url}/prompt", json=body) as answer:
            prompt_id = (await answer.json())["prompt_id"]
        with contextlib.suppress(asyncio.TimeoutError):
            while True:
                message = await ws.receive_json(timeout=0.7 if heard and over() else 180)
                heard.append((message["type"], message["data"]))
    assert over(), heard
    return prompt_id, heard


def test_websocket_of_the_client(host: Host) -> None:
    prompt_id, heard = asyncio.run(_listen(host, uuid.uuid4().hex, host.through("WfrSleep", seconds=0.3), True))
    events = [event for event, _ in heard if event not in {"status", "progress", "progress_state"}]
    assert events == [
        "execution_start",
        "execution_cached",
        "executing",
        "executing",
        "executing",
        "executed",
        "execution_success",
        "executing",
    ]
    assert [data["node"] for event, data in heard if event == "executing"] == ["1", "9", "2", None]
    # The end is told after the history was written and the queue's length was sent.
    kinds = [event for event, _ in heard]
    assert kinds[-2:] == ["status", "executing"]
    assert heard[-1][1] == {"node": None, "prompt_id": prompt_id}
    assert heard[-2][1]["status"]["exec_info"]["queue_remaining"] == 0
    (executed,) = [data for event, data in heard if event == "executed"]
    assert set(executed) == {"node", "display_node", "output", "prompt_id"}
    assert executed["output"]["images"][0]["type"] == "output"
    ticks = [data for event, data in heard if event == "progress"]
    assert ticks[-1] == {"value": 3, "max": 3, "prompt_id": prompt_id, "node": "9"}
    states = [data for event, data in heard if event == "progress_state"]
    assert states[-1]["nodes"]["2"]["state"] == "finished"
    fields = {"value", "max", "state", "node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id"}
    assert set(states[-1]["nodes"]["9"]) == fields


def test_websocket_without_a_client_hears_no_end(host: Host) -> None:
    _, heard = asyncio.run(_listen(host, uuid.uuid4().hex, host.through("WfrSleep", seconds=0.2), False))
    assert {event for event, _ in heard} == {"status", "progress", "progress_state"}


def test_websocket_of_somebody_else_hears_interruptions_only_without_client(host: Host) -> None:
    async def hear() -> list[str]:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{host.url}/ws") as ws:
            blocking = await asyncio.to_thread(host.block)
            await asyncio.to_thread(host.unblock, blocking)
            kinds: list[str] = []
            while "execution_interrupted" not in kinds:
                kinds.append((await ws.receive_json(timeout=180))["type"])
            return kinds

    assert "execution_start" not in asyncio.run(hear())


def test_feature_flags(host: Host) -> None:
    async def ask() -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{host.url}/ws") as ws:
            await ws.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
            while True:
                message: dict[str, Any] = await ws.receive_json(timeout=180)
                if message["type"] == "feature_flags":
                    data: dict[str, Any] = message["data"]
                    return data

    assert asyncio.run(ask())["supports_preview_metadata"] is True


# -- files and access ------------------------------------------------------------------------------------------


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, format="PNG")
    return out.getvalue()


def upload(host: Host, content: bytes, name: str = "up.png", **fields: str) -> requests.Response:
    files = {"image": (name, content, "image/png")}
    return host.session.post(f"{host.url}/upload/image", files=files, data=fields, timeout=180)


def test_upload(host: Host) -> None:
    assert upload(host, png("red")).json() == {"name": "up.png", "subfolder": "", "type": "input"}
    assert upload(host, png("red")).json()["name"] == "up.png"
    assert upload(host, png("blue")).json()["name"] == "up (1).png"
    assert upload(host, png("green")).json()["name"] == "up (2).png"
    assert upload(host, png("green"), overwrite="true").json()["name"] == "up.png"
    assert (host.process.base / "input" / "up.png").read_bytes() == png("green")
    assert upload(host, png("red"), subfolder="a/b", type="temp").json()["type"] == "temp"
    assert (host.process.base / "temp" / "a" / "b" / "up.png").exists()
    assert upload(host, png("red"), subfolder="../..").status_code == 400
    assert host.session.post(f"{host.url}/upload/image", data={"type": "input"}, timeout=180).status_code == 400
    listed = host.get("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"][0]
    assert "up (1).png" in listed


def test_view(host: Host) -> None:
    (host.process.output / "seen").mkdir()
    (host.process.output / "seen" / "a.png").write_bytes(png("red"))
    (host.process.output / "page.html").write_text("<script>")
    shown = host.get("/view", params={"filename": "a.png", "subfolder": "seen"})
    assert shown.content == png("red")
    assert shown.headers["Content-Type"] == "image/png"
    assert host.get("/view", params={"filename": "a.png", "type": "output"}).status_code == 404
    assert host.get("/view", params={"filename": "../base/comfyui.log"}).status_code == 400
    assert host.get("/view", params={"filename": "/etc/passwd"}).status_code == 400
    assert host.get("/view", params={"filename": "comfyui.log", "subfolder": ".."}).status_code == 403
    assert host.get("/view", params={"filename": "a.png", "type": "elsewhere"}).status_code == 400
    assert host.get("/view").status_code == 404
    assert host.get("/view", params={"filename": "page.html"}).headers["Content-Type"] == "application/octet-stream"
    small = host.get("/view", params={"filename": "a.png", "subfolder": "seen", "preview": "webp;80"})
    assert small.headers["Content-Type"] == "image/webp"


def test_foreign_origin_is_refused(host: Host) -> None:
    assert host.get("/queue", headers={"Origin": "https://evil.example"}).status_code == 403
    assert host.get("/queue", headers={"Origin": "http://127.0.0.1:1"}).status_code == 403
    assert host.get("/queue", headers={"Origin": host.url}).status_code == 200
    cross_site = host.get("/queue", headers={"Sec-Fetch-Site": "cross-site"})
    assert cross_site.status_code == (403 if host.six else 200)


def test_jobs(host: Host) -> None:
    if not host.six:
        assert host.get("/api/jobs").status_code == 404
        return
    done = host.submit(host.picture(), extra_data={"extra_pnginfo": {"workflow": {"id": "w9"}}})
    host.finished(done)
    blocking = host.block()
    waiting = host.submit(host.picture())
    listing = host.get("/api/jobs").json()
    states = {job["id"]: job["status"] for job in listing["jobs"]}
    assert (states[done], states[blocking], states[waiting]) == ("completed", "in_progress", "pending")
    assert listing["pagination"]["total"] == len(listing["jobs"])
    (found,) = host.get("/api/jobs", params={"workflow_id": "w9"}).json()["jobs"]
    assert found["outputs_count"] == 1
    assert found["preview_output"]["nodeId"] == "2"
    assert host.get("/api/jobs", params={"status": "pending"}).json()["jobs"][0]["id"] == waiting
    detail = host.get(f"/api/jobs/{done}").json()
    assert detail["execution_status"]["completed"]
    assert detail["workflow"]["prompt"]["2"]["class_type"] == "SaveImage"
    missing = host.get(f"/api/jobs/{uuid.uuid4()}")
    assert (missing.status_code, missing.json()) == (404, {"error": "Job not found"})
    assert host.post(f"/api/jobs/{waiting}/cancel").json() == {"cancelled": True}
    assert host.post("/api/jobs/cancel", {"job_ids": [blocking]}).status_code == 200
    host.unblock(blocking)
    assert host.get(f"/api/jobs/{blocking}").json()["status"] == "cancelled"


# -- the host is broken from here on ---------------------------------------------------------------------------


def test_worker_dies_of_what_escapes(host: Host) -> None:
    if host.six:
        # An item of five elements.
        graph = host.picture()
        doomed = str(uuid.uuid4())
        assert host.post("/probe/put", {"item": [0, doomed, graph, {}, ["2"]]}).status_code == 200
    else:
        graph = host.picture()
        graph["2"] = {"class_type": "ProbeExit", "inputs": {"image": ["1", 0]}}
        doomed = host.submit(graph)
    wait_for(lambda: not host.facts()["worker now"], "the end of the worker")
    later = host.submit(host.picture())
    time.sleep(0.2)
    assert host.running() == [doomed]
    assert host.pending() == [later]
    assert host.history(doomed) is None


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigterm_ends_it_without_a_word(host: Host) -> None:
    plugin = host.plugins[0]
    host.process.stop()
    assert host.process.returncode == -signal.SIGTERM
    assert not (plugin / "atexit").exists()
    assert not (plugin / "on_shutdown").exists()


# -- starts of their own ---------------------------------------------------------------------------------------

BAD_STARTUP = """
from server import PromptServer
async def up(app):
    raise RuntimeError("a handler failed")
PromptServer.instance.app.on_startup.append(up)
NODE_CLASS_MAPPINGS = {}
"""


def plugin_of(folder: Path, source: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source, encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", ["shape5", "shape6", "real"])
def test_failing_startup_handler_ends_the_process(tmp_path: Path, kind: str) -> None:
    real = real_comfyui() if kind == "real" else None
    plugin = plugin_of(tmp_path / "bad", BAD_STARTUP)
    process = ComfyProcess(tmp_path / "base", real=real, shape=5 if kind == "shape5" else 6, plugins=[plugin])
    with pytest.raises(ComfyNotStartedError) as caught:
        process.start()
    if real is not None and "ModuleNotFoundError" in str(caught.value):
        pytest.skip(f"the ComfyUI found here does not start: {str(caught.value).splitlines()[-1]}")
    assert "a handler failed" in str(caught.value)
    assert process.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_it_in_order(tmp_path: Path) -> None:
    plugin = plugin_of(tmp_path / "probe", PROBE)
    with ComfyProcess(tmp_path / "base", plugins=[plugin]) as process:
        os.kill(process.pid, signal.SIGINT)
        assert process.wait() == 0
    assert (plugin / "atexit").exists()
    assert not (plugin / "on_shutdown").exists()


def test_restart_keeps_port_and_files_but_no_memory(tmp_path: Path) -> None:
    with ComfyProcess(tmp_path, args=["--delay", "0.2"]) as process, requests.Session() as session:
        session.trust_env = False
        host = Host(process, [], tmp_path / "log", True, session)
        url, pid = process.url, process.pid
        prompt_id = host.submit(host.picture())
        host.finished(prompt_id)
        host.submit(host.picture())
        process.restart()
        assert process.url == url
        assert process.pid != pid
        assert host.get("/history").json() == {}
        assert host.get("/queue").json() == {"queue_running": [], "queue_pending": []}
        assert host.post("/prompt", {"prompt": host.picture()}).json()["number"] == 0
        assert (process.output / "t_00001_.png").exists()
    assert not process.running


def test_delay_leaves_time_to_kill_in_the_middle(tmp_path: Path) -> None:
    with ComfyProcess(tmp_path, args=["--delay", "30"]) as process, requests.Session() as session:
        session.trust_env = False
        host = Host(process, [], tmp_path / "log", True, session)
        prompt_id = host.submit(host.picture())
        wait_for(lambda: host.running() == [prompt_id], "the prompt to run")
        process.kill()
        assert not process.running
        assert not list(process.output.iterdir())


def test_plugin_option_and_front_end(tmp_path: Path) -> None:
    plugin = plugin_of(tmp_path / "extra", PROBE)
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<p>the page")
    options = ["--plugin", str(plugin), "--front-end-root", str(tmp_path / "page"), "--version", "0.40.0"]
    with ComfyProcess(tmp_path / "base", args=options) as process, requests.Session() as session:
        session.trust_env = False
        host = Host(process, [], tmp_path / "log", True, session)
        assert host.get("/").text == "<p>the page"
        assert host.facts()["module"] == str(plugin).replace(".", "_x_")
        assert host.get("/system_stats").json()["system"]["comfyui_version"] == "0.40.0"


def test_taken_port_is_told(tmp_path: Path) -> None:
    with ComfyProcess(tmp_path / "first") as first:
        port = first.url.rpartition(":")[2]
        command = [sys.executable, "-m", "wfrecovery.demo.comfyui_host", "--base-directory", str(tmp_path / "second")]
        ended = subprocess.run([*command, "--port", port], check=False, capture_output=True, timeout=180)
    assert ended.returncode == 1
    assert b"ddress already in use" in ended.stderr or b"10048" in ended.stderr


def test_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def queue_updated(self) -> None:
            pass

    monkeypatch.setattr(execution, "MAXIMUM_HISTORY_SIZE", 2)
    for queue in (execution.FiveTuplePromptQueue(Silent()), execution.SixTuplePromptQueue(Silent())):
        for number in range(5):
            queue.put((number, str(number), {}, {}, []))
            taken = queue.get()
            assert taken is not None
            queue.task_done(taken[1], {"outputs": {}, "meta": {}}, status=None)
        # As in ComfyUI the limit is looked at before the new entry is added.
        assert list(queue.history) == ["2", "3", "4"]
        with pytest.raises(KeyError):
            queue.task_done(99, {}, status=None)
