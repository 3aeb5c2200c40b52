"""``python -m wfrecovery.demo.runninghub_host``: the stand-in as a process of its own."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from .cloud import Output, Workflow
from .stand_in import RunningHubStandIn

__all__ = ["load_workflows", "main"]


def load_workflows(path: Path) -> dict[str, Workflow]:
    """{"101": {"outputs": [{"node": "9", "kind": "png", "count": 1}], "seconds": 2, "nodes": {"6": ["text"]}}}."""
    loaded = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Workflow(**{**given, "outputs": tuple(Output(**output) for output in given.get("outputs", [{}]))})
        for name, given in loaded.items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wfrecovery.demo.runninghub_host", description="A stand-in cloud.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    parser.add_argument("--api-key", default="", help="the account's key; made up without it")
    parser.add_argument("--workflows", type=Path, required=True, help="JSON: what it can run, by workflow id")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until interrupted. One line of JSON on stdout says when it is ready, and how to reach it."""
    given = _parser().parse_args(arguments)
    with RunningHubStandIn(load_workflows(given.workflows), api_key=given.api_key, port=given.port) as cloud:
        print(json.dumps(cloud.connection), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
