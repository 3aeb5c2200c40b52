"""The place that a story has in Python: its modules stand where ComfyUI's do, and its folders where the outputs are."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from savers import CLASSES, STUDIO, Studio

from wfrecovery.bridge.table import lives
from wfrecovery.bridge.table.folder_test import FolderTest
from wfrecovery.demo.comfyui_host import comfyui_version, execution, folder_paths, model_management, nodes
from wfrecovery.demo.comfyui_host.options import options
from wfrecovery.server_routes import plugin

#: Where nothing waits for a disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def in_the_place_of_comfyui(
    undo: ExitStack, base: Path, six: bool, environment: dict[str, str], studio: Studio
) -> None:
    """Until `undo` is closed."""
    undo.enter_context(mock.patch.dict(os.environ, environment))
    undo.enter_context(mock.patch.dict(nodes.NODE_CLASS_MAPPINGS, CLASSES))
    undo.enter_context(mock.patch.multiple(options, shape=6 if six else 5))
    places = {f"{name}_directory": str(base / name) for name in ("output", "user", "temp")}
    undo.enter_context(mock.patch.multiple(folder_paths, **places))
    undo.enter_context(mock.patch.object(execution, "PromptQueue", execution.PromptQueue))
    # What takes another process, what would stay in this one, and what waits for somebody who cannot move meanwhile.
    undo.enter_context(mock.patch.object(plugin, "tested", return_value=FolderTest()))
    undo.enter_context(mock.patch.object(plugin.OrderlyEnd, "install"))
    undo.enter_context(mock.patch.object(plugin.Events, "start"))
    undo.enter_context(mock.patch.object(lives, "_PROBE_SECONDS", 0.0))
    execution.configure()
    modules = {"folder_paths": folder_paths, "nodes": nodes, "execution": execution}
    more = {"comfyui_version": comfyui_version, "comfy.model_management": model_management}
    for name, module in {**modules, **more}.items():
        before = sys.modules.get(name)
        sys.modules[name] = module
        undo.callback(_put_back, name, before)
    STUDIO.append(studio)
    undo.callback(STUDIO.pop)


def _put_back(name: str, module: Any) -> None:
    if module is None:
        del sys.modules[name]
    else:
        sys.modules[name] = module
