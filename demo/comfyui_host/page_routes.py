"""Routes that ComfyUI's page asks for when it loads: nodes, translations, templates, settings, the user's files."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import sys
import urllib.parse
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aiohttp import web

from . import comfyui_version, folder_paths, nodes
from .options import options

_EXAMPLE_FOLDERS = ("example_workflows", "example", "examples", "workflow", "workflows")
_START_PAGE = "<!doctype html><title>ComfyUI (stand-in)</title><p>Start it with --front-end-root to have a page here."

#: ComfyUI's default for --max-upload-size.
MAX_UPLOAD = 100 * 1024 * 1024
FEATURES: dict[str, Any] = {"supports_preview_metadata": True, "max_upload_size": MAX_UPLOAD}
#: The last lines of the log, for the page's terminal.
LOG_LINES: deque[dict[str, str]] = deque(maxlen=300)


class LogKeeper(logging.Handler):
    """Keeps the last lines of the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        LOG_LINES.append({"t": datetime.now(timezone.utc).isoformat(), "m": record.getMessage() + "\n"})


def add_page_routes(routes: web.RouteTableDef, web_root: str | None) -> None:
    """Register them."""

    async def root(request: web.Request) -> web.StreamResponse:
        if web_root is None:
            return web.Response(text=_START_PAGE, content_type="text/html")
        return web.FileResponse(Path(web_root) / "index.html", headers={"Cache-Control": "no-cache"})

    async def extensions(request: web.Request) -> web.Response:
        return web.json_response(_extension_files(web_root))

    routes.get("/")(root)
    routes.get("/extensions")(extensions)
    for path, handler in (
        ("/i18n", _i18n),
        ("/workflow_templates", _workflow_templates),
        ("/object_info", _object_info),
        ("/object_info/{node_class}", _object_info_of),
        ("/system_stats", _system_stats),
        ("/features", _features),
        ("/embeddings", _embeddings),
        ("/models", _model_kinds),
        ("/models/{folder}", _models),
        ("/experiment/models", _model_folders),
        ("/experiment/models/{folder}", _model_files),
        ("/global_subgraphs", _empty_object),
        ("/node_replacements", _empty_object),
        ("/templates/index.json", _empty_list),
        ("/logs", _logs),
    ):
        routes.get(path)(handler)
    # ComfyUI has these in a sub-application, without the doubled /api path; the page asks for /internal/….
    routes.get("/internal/logs")(_logs)
    routes.get("/internal/logs/raw")(_logs_raw)
    routes.get("/internal/folder_paths")(_folder_paths)
    routes.patch("/internal/logs/subscribe")(_empty_object)


def _extension_files(web_root: str | None) -> list[str]:
    found: list[str] = []
    if web_root is not None:
        found += ["/" + path.relative_to(web_root).as_posix() for path in Path(web_root, "extensions").rglob("*.js")]
    for name, folder in nodes.EXTENSION_WEB_DIRS.items():
        start = f"/extensions/{urllib.parse.quote(name)}/"
        found += [start + path.relative_to(folder).as_posix() for path in sorted(Path(folder).rglob("*.js"))]
    return found


async def _empty_object(request: web.Request) -> web.Response:
    return web.json_response({})


async def _empty_list(request: web.Request) -> web.Response:
    return web.json_response([])


async def _i18n(request: web.Request) -> web.Response:
    return web.json_response(_translations())


def _translations() -> dict[str, Any]:
    """main.json of every plugin and language, with nodeDefs, commands and settings below their own keys."""
    merged: dict[str, Any] = {}
    for plugin in sorted(nodes.plugin_folders()):
        for folder in sorted(path for path in plugin.glob("locales/*/") if path.is_dir()):
            texts = _read_json(folder / "main.json")
            for key in ("nodeDefs", "commands", "settings"):
                part = _read_json(folder / f"{key}.json")
                if part:
                    texts[key] = part
            if texts:
                merged[folder.name] = _merge(merged.get(folder.name, {}), texts)
    return merged


def _read_json(path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError:
        logging.error("Error loading %s", path)
        return {}
    return loaded


def _merge(base: Any, update: Any) -> Any:
    if isinstance(base, dict) and isinstance(update, dict):
        return {**base, **{key: _merge(base.get(key), value) for key, value in update.items()}}
    return base + update if isinstance(base, list) and isinstance(update, list) else update


async def _workflow_templates(request: web.Request) -> web.Response:
    found: dict[str, list[str]] = {}
    for plugin in nodes.plugin_folders():
        for folder in _EXAMPLE_FOLDERS:
            for file in sorted(plugin.glob(f"{folder}/*.json")):
                found.setdefault(plugin.name, []).append(file.stem)
    return web.json_response(found)


def _node_info(name: str) -> dict[str, Any]:
    node_class = nodes.NODE_CLASS_MAPPINGS[name]
    inputs = node_class.INPUT_TYPES()
    outputs = node_class.RETURN_TYPES
    return {
        "input": inputs,
        "input_order": {category: list(names) for category, names in inputs.items()},
        # 0.3.64 does not say it.
        **({"is_input_list": getattr(node_class, "INPUT_IS_LIST", False)} if options.six else {}),
        "output": outputs,
        "output_is_list": getattr(node_class, "OUTPUT_IS_LIST", [False] * len(outputs)),
        "output_name": getattr(node_class, "RETURN_NAMES", outputs),
        "name": name,
        "display_name": nodes.NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "description": getattr(node_class, "DESCRIPTION", ""),
        "python_module": getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(node_class, "CATEGORY", "sd"),
        "output_node": getattr(node_class, "OUTPUT_NODE", False) is True,
        **({"output_tooltips": node_class.OUTPUT_TOOLTIPS} if hasattr(node_class, "OUTPUT_TOOLTIPS") else {}),
    }


async def _object_info(request: web.Request) -> web.Response:
    described = {}
    for name in nodes.NODE_CLASS_MAPPINGS:
        try:
            described[name] = _node_info(name)
        except Exception:
            logging.exception("[ERROR] An error occurred while retrieving information for the '%s' node.", name)
    return web.json_response(described)


async def _object_info_of(request: web.Request) -> web.Response:
    name = request.match_info["node_class"]
    return web.json_response({name: _node_info(name)} if name in nodes.NODE_CLASS_MAPPINGS else {})


async def _system_stats(request: web.Request) -> web.Response:
    system = {
        "os": os.name,
        "ram_total": 0,
        "ram_free": 0,
        "comfyui_version": comfyui_version.__version__,
        "required_frontend_version": None,
        "installed_templates_version": None,
        "required_templates_version": None,
        "python_version": sys.version,
        "pytorch_version": f"none (stand-in on {platform.python_implementation()})",
        "embedded_python": False,
        "argv": sys.argv,
    }
    memory = dict.fromkeys(("vram_total", "vram_free", "torch_vram_total", "torch_vram_free"), 0)
    device = {"name": "cpu", "type": "cpu", "index": None, **memory}
    return web.json_response({"system": system, "devices": [device]})


async def _features(request: web.Request) -> web.Response:
    return web.json_response(FEATURES)


async def _embeddings(request: web.Request) -> web.Response:
    return web.json_response([str(Path(name).with_suffix("")) for name in folder_paths.get_filename_list("embeddings")])


async def _model_kinds(request: web.Request) -> web.Response:
    return web.json_response(list(folder_paths.folder_names_and_paths))


async def _models(request: web.Request) -> web.Response:
    kind = request.match_info["folder"]
    if kind not in folder_paths.folder_names_and_paths:
        return web.Response(status=404)
    return web.json_response(folder_paths.get_filename_list(kind))


async def _model_folders(request: web.Request) -> web.Response:
    kinds = [kind for kind in folder_paths.folder_names_and_paths if kind not in {"configs", "custom_nodes"}]
    return web.json_response([{"name": kind, "folders": folder_paths.get_folder_paths(kind)} for kind in kinds])


async def _model_files(request: web.Request) -> web.Response:
    kind = request.match_info["folder"]
    if kind not in folder_paths.folder_names_and_paths:
        return web.Response(status=404)
    return web.json_response([{"name": name, "pathIndex": 0} for name in folder_paths.get_filename_list(kind)])


async def _logs(request: web.Request) -> web.Response:
    return web.json_response("".join(f"{line['t']} - {line['m']}" for line in LOG_LINES))


async def _logs_raw(request: web.Request) -> web.Response:
    return web.json_response({"entries": list(LOG_LINES), "size": {"cols": 120, "rows": 40}})


async def _folder_paths(request: web.Request) -> web.Response:
    return web.json_response({kind: folders for kind, (folders, _) in folder_paths.folder_names_and_paths.items()})


class UserManager:
    """The one user's settings and files, in <user>/default."""

    def __init__(self) -> None:
        self.users = {"default": "default"}

    def get_request_user_id(self, request: web.Request) -> str:
        """Whose request this is; one user only."""
        return "default"

    def get_request_user_filepath(
        self,
        request: web.Request,
        file: str | None,
        type: str = "userdata",  # noqa: A002 - the name is ComfyUI's
        create_dir: bool = True,
    ) -> str | None:
        """The full path of a user's file, or None when it would leave the user's folder."""
        root = Path(folder_paths.get_user_directory()) / self.get_request_user_id(request)
        path = root if file is None else Path(os.path.normpath(root / urllib.parse.unquote(file)))
        if not path.is_relative_to(root):
            return None
        if create_dir:
            path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def add_routes(self, routes: web.RouteTableDef) -> None:
        """Register the routes of settings and user data."""
        routes.get("/users")(self._users)
        routes.get("/settings")(self._get_settings)
        routes.post("/settings")(self._post_settings)
        routes.get("/settings/{id}")(self._get_setting)
        routes.post("/settings/{id}")(self._post_setting)
        routes.get("/userdata")(self._list)
        routes.get("/v2/userdata")(self._list_v2)
        routes.get("/userdata/{file}")(self._read)
        routes.post("/userdata/{file}")(self._write)
        routes.delete("/userdata/{file}")(self._delete)
        routes.post("/userdata/{file}/move/{dest}")(self._move)

    def _path(self, request: web.Request, file: str | None) -> Path:
        path = self.get_request_user_filepath(request, file)
        if path is None:
            raise web.HTTPForbidden
        return Path(path)

    async def _users(self, request: web.Request) -> web.Response:
        return web.json_response({"storage": "server", "migrated": self._path(request, None).exists()})

    def _settings(self, request: web.Request) -> dict[str, Any]:
        return _read_json(self._path(request, "comfy.settings.json"))

    def _save_settings(self, request: web.Request, changes: dict[str, Any]) -> web.Response:
        merged = {**self._settings(request), **changes}
        self._path(request, "comfy.settings.json").write_text(json.dumps(merged, indent=4), encoding="utf-8")
        return web.Response(status=200)

    async def _get_settings(self, request: web.Request) -> web.Response:
        return web.json_response(self._settings(request))

    async def _post_settings(self, request: web.Request) -> web.Response:
        return self._save_settings(request, await request.json())

    async def _get_setting(self, request: web.Request) -> web.Response:
        return web.json_response(self._settings(request).get(request.match_info["id"]))

    async def _post_setting(self, request: web.Request) -> web.Response:
        return self._save_settings(request, {request.match_info["id"]: await request.json()})

    async def _list(self, request: web.Request) -> web.Response:
        query = request.rel_url.query
        if not query.get("dir"):
            return web.Response(status=400, text="Directory not provided")
        folder = self._path(request, query["dir"])
        if not folder.exists():
            return web.Response(status=404, text="Directory not found")
        pattern = "**/*" if query.get("recurse", "").lower() == "true" else "*"
        files = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
        if query.get("full_info", "").lower() == "true":
            return web.json_response([_file_info(path, folder) for path in files])
        names = [path.relative_to(folder).as_posix() for path in files]
        if query.get("split", "").lower() == "true":
            return web.json_response([[name, *name.split("/")] for name in names])
        return web.json_response(names)

    async def _list_v2(self, request: web.Request) -> web.Response:
        root = self._path(request, None)
        folder = self._path(request, request.rel_url.query.get("path", ""))
        if not folder.exists():
            return web.json_response([]) if folder == root else web.Response(status=404)
        listed = [
            {"name": path.name, "path": path.relative_to(root).as_posix(), "type": "directory"}
            if path.is_dir()
            else {"name": path.name, "type": "file", **_file_info(path, root)}
            for path in sorted(folder.rglob("*"))
        ]
        return web.json_response(listed)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        path = self._path(request, request.match_info["file"])
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    async def _write(self, request: web.Request) -> web.Response:
        path = self._path(request, request.match_info["file"])
        if request.query.get("overwrite") == "false" and path.exists():
            return web.Response(status=409, text="File already exists")
        path.write_bytes(await request.read())
        return self._tell(request, path)

    async def _delete(self, request: web.Request) -> web.Response:
        path = self._path(request, request.match_info["file"])
        if not path.exists():
            return web.Response(status=404)
        path.unlink()
        return web.Response(status=204)

    async def _move(self, request: web.Request) -> web.Response:
        source = self._path(request, request.match_info["file"])
        target = self._path(request, request.match_info["dest"])
        if not source.exists():
            return web.Response(status=404)
        if request.query.get("overwrite") == "false" and target.exists():
            return web.Response(status=409, text="File already exists")
        shutil.move(source, target)
        return self._tell(request, target)

    def _tell(self, request: web.Request, path: Path) -> web.Response:
        root = self._path(request, None)
        if request.query.get("full_info", "").lower() == "true":
            return web.json_response(_file_info(path, root))
        return web.json_response(path.relative_to(root).as_posix())


def _file_info(path: Path, root: Path) -> dict[str, Any]:
    facts = path.stat()
    return {
        "path": path.relative_to(root).as_posix(),
        "size": facts.st_size,
        "modified": facts.st_mtime,
        "created": facts.st_ctime,
    }
