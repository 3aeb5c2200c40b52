"""``nodes``: the node classes of the stand-in, and the loading of plugins."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from . import folder_paths, model_management
from .builtin_nodes import BUILTIN_NODES, DISPLAY_NAMES
from .options import options

tomllib: Any
try:
    tomllib = importlib.import_module("tomllib")
except ImportError:  # Python 3.10: ``[tool.comfy] web`` is not looked at
    tomllib = None

MAX_RESOLUTION = 16384

NODE_CLASS_MAPPINGS: dict[str, Any] = dict(BUILTIN_NODES)
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = dict(DISPLAY_NAMES)
#: folder name -> folder that is served under /extensions/<folder name>
EXTENSION_WEB_DIRS: dict[str, str] = {}
#: folder name -> folder, for plugins that were imported
LOADED_MODULE_DIRS: dict[str, str] = {}


def interrupt_processing(value: bool = True) -> None:
    """Ask the running prompt to stop."""
    model_management.interrupt_current_processing(value)


def before_node_execution() -> None:
    """Raise when a stop was asked for."""
    model_management.throw_exception_if_processing_interrupted()


def plugin_folders() -> list[Path]:
    """Every plugin: those in custom_nodes in the order of the disk, as in ComfyUI, then those of ``--plugin``."""
    found: list[Path] = []
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        for name in os.listdir(folder):
            path = Path(folder) / name
            if name == "__pycache__" or name.endswith(".disabled") or (path.is_file() and path.suffix != ".py"):
                continue
            found.append(path)
    return found + [path.absolute() for path in options.plugins]


async def init_extra_nodes() -> None:
    """Load all plugins, on this thread and with this loop running."""
    own_names = frozenset(NODE_CLASS_MAPPINGS)
    timings: list[tuple[float, bool, Path]] = []
    for path in plugin_folders():
        before = time.perf_counter()
        success = await load_custom_node(str(path), own_names)
        timings.append((time.perf_counter() - before, success, path))
    if timings:
        logging.info("\nImport times for custom nodes:")
    for seconds, success, path in sorted(timings):
        logging.info("%6.1f seconds%s: %s", seconds, "" if success else " (IMPORT FAILED)", path)


async def load_custom_node(
    module_path: str, ignore: frozenset[str] = frozenset(), module_parent: str = "custom_nodes"
) -> bool:
    """Import one plugin. Whatever goes wrong is logged, and the host goes on."""
    try:
        module, name = _load(Path(module_path))
        return await _register_nodes(module, f"{module_parent}.{name}", ignore, module_path)
    except Exception as error:
        logging.warning("%s", traceback.format_exc())
        logging.warning("Cannot import %s module for custom nodes: %s", module_path, error)
        return False


def _load(path: Path) -> tuple[ModuleType, str]:
    name = path.stem if path.is_file() else path.name
    module = _import(path)
    LOADED_MODULE_DIRS[name] = str(path if path.is_dir() else path.parent)
    _register_web(path, name, module)
    return module, name


def _import(path: Path) -> ModuleType:
    file = path if path.is_file() else path / "__init__.py"
    # The full path as a module name is what plugins meet in ComfyUI: "." would make it a sub-module of nothing.
    module_name = str(path.with_suffix("")) if path.is_file() else str(path).replace(".", "_x_")
    locations = None if path.is_file() else [str(path)]
    spec = importlib.util.spec_from_file_location(module_name, file, submodule_search_locations=locations)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def _register_web(path: Path, name: str, module: ModuleType) -> None:
    web = getattr(module, "WEB_DIRECTORY", None)
    if web is not None and (path / web).is_dir():
        EXTENSION_WEB_DIRS[name] = os.path.normpath(path / web)
    project_name, folder = _web_of_project(path / "pyproject.toml")
    if project_name and folder and (path / folder).is_dir():
        # Both ways at once load the page's files twice; that is the plugin's mistake to see.
        EXTENSION_WEB_DIRS[project_name] = os.path.normpath(path / folder)


def _web_of_project(file: Path) -> tuple[str | None, str | None]:
    """``[tool.comfy] web`` and the project's name."""
    if tomllib is None or not file.is_file():
        return None, None
    project = tomllib.loads(file.read_text(encoding="utf-8"))
    return project.get("project", {}).get("name"), project.get("tool", {}).get("comfy", {}).get("web")


async def _register_nodes(module: ModuleType, parent: str, ignore: frozenset[str], module_path: str) -> bool:
    mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if mappings is not None:
        for name, node_class in mappings.items():
            if name not in ignore:
                NODE_CLASS_MAPPINGS[name] = node_class
                node_class.RELATIVE_PYTHON_MODULE = parent
        NODE_DISPLAY_NAME_MAPPINGS.update(getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {})
        return True
    entrypoint = getattr(module, "comfy_entrypoint", None)
    if callable(entrypoint):
        # Nodes of the newer API need ComfyUI's own package; the extension's hook is what packs without nodes use.
        extension = entrypoint()
        extension = await extension if inspect.isawaitable(extension) else extension
        on_load = getattr(extension, "on_load", None)
        if options.six and on_load is not None:
            await on_load()
        return True
    logging.warning(
        "Skip %s module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).", module_path
    )
    return False
