"""``python -m wfrecovery.demo.comfyui_host``: a stand-in ComfyUI as a process of its own.

The order of the start is ComfyUI's: plugins are imported on the main thread with the loop running, then the worker
thread starts, then the ``on_startup`` handlers run, then the port opens.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import comfyui_version, execution, folder_paths, nodes, progress, register, worker
from .options import VERSIONS, options
from .page_routes import LogKeeper
from .server import PromptServer

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wfrecovery.demo.comfyui_host", description="A stand-in ComfyUI.")
    parser.add_argument("--base-directory", type=Path, required=True, help="holds custom_nodes, input, output, user …")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--listen", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--shape", type=int, choices=(5, 6), default=6, help="5: as 0.3.64, 6: as 0.33.0")
    parser.add_argument("--plugin", type=Path, action="append", default=[], help="load this folder as a plugin, too")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a prompt takes at least")
    parser.add_argument("--front-end-root", type=Path, help="a static front end to serve at /")
    parser.add_argument("--version", help="what comfyui_version says (default: by shape)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until interrupted."""
    given = _parser().parse_args(arguments)
    options.base_directory = given.base_directory
    options.shape = given.shape
    options.version = given.version or VERSIONS[given.shape]
    options.plugins = tuple(given.plugin)
    options.delay = given.delay
    options.front_end_root = given.front_end_root
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server = _prepare(loop)
    try:
        loop.run_until_complete(_run(server, given.listen, given.port))
    except KeyboardInterrupt:
        logging.info("\nStopped server")
    return 0


def _prepare(loop: asyncio.AbstractEventLoop) -> PromptServer:
    """All that happens before the port opens."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[logging.StreamHandler(), LogKeeper()])
    logging.info("ComfyUI version: %s (stand-in)", options.version)
    comfyui_version.__version__ = options.version
    folder_paths.configure()
    execution.configure()
    register()
    shutil.rmtree(folder_paths.get_temp_directory(), ignore_errors=True)
    server = PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes())
    server.add_routes()
    progress.install_hook(server)
    worker.start_worker(server.prompt_queue, server)
    Path(folder_paths.get_temp_directory()).mkdir(exist_ok=True)
    return server


async def _run(server: PromptServer, address: str, port: int) -> None:
    await server.setup()
    await asyncio.gather(server.start_multi_address([(address, port)]), server.publish_loop())


if __name__ == "__main__":
    sys.exit(main())
