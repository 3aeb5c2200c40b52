"""A stand-in ComfyUI: what a plugin can see and touch of the real one, without torch, models or a GPU.

It imports nothing of the project, neither ``bridge`` nor the other host; ``register`` gives its modules the names under
which plugins know ComfyUI's. Start with ``__main__``, which goes through the start in ComfyUI's order; then ``server``
takes prompts, ``execution`` queues them, ``worker`` and ``executor`` run them.

It imitates two generations, told apart by the number of elements in a queue item ("shape"): 5 is ComfyUI 0.3.64,
6 is ComfyUI 0.33.0 (the sixth element appeared in 0.3.67). Faults that plugins meet are imitated as well: a dead
worker thread stays dead, SIGTERM skips ``atexit``, an item of the wrong length stops the queue for good.

Nothing here is ComfyUI's code; only names, routes, fields and observable behaviour are the same.
"""

import sys
from importlib import import_module
from types import ModuleType

__all__ = ["register"]


def register() -> None:
    """Put the modules into ``sys.modules`` under the names that plugins import."""
    for name in ("server", "execution", "nodes", "folder_paths", "comfyui_version"):
        sys.modules[name] = import_module(f".{name}", __name__)
    _register_package("comfy", {"utils": "comfy_utils", "model_management": "model_management"})
    _register_package("comfy_execution", {"utils": "execution_context"})


def _register_package(name: str, modules: dict[str, str]) -> None:
    package = ModuleType(name)
    package.__path__ = []
    sys.modules[name] = package
    for short, ours in modules.items():
        module = import_module(f".{ours}", __name__)
        setattr(package, short, module)
        sys.modules[f"{name}.{short}"] = module
