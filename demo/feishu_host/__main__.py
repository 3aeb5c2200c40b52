"""``python -m wfrecovery.demo.feishu_host``: the stand-in as a process of its own."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cells import row_from_json
from .stand_in import HOSTS, FeishuStandIn

__all__ = ["main"]


def _load_rows(path: Path) -> dict[str, Any]:
    """A list of rows, or an object with `rows` and any of header, header_row, header_rows and sheet_title."""
    loaded = json.loads(path.read_text(encoding="utf-8"))
    given: dict[str, Any] = loaded if isinstance(loaded, dict) else {"rows": loaded}
    return {**given, "rows": [row_from_json(row, path.parent) for row in given["rows"]]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wfrecovery.demo.feishu_host", description="A stand-in Feishu.")
    parser.add_argument("--host", default="127.0.0.1", choices=tuple(HOSTS))
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    parser.add_argument("--rows", type=Path, help="JSON: a list of rows, each by title or in the header's order")
    parser.add_argument("--state", type=Path, help="save the spreadsheet here after every change")
    parser.add_argument("--port-file", type=Path, help="write the port here when ready")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until interrupted. One line of JSON on stdout says when it is ready, and how to reach it."""
    given = _parser().parse_args(arguments)
    rows = _load_rows(given.rows) if given.rows else {}
    with FeishuStandIn(**rows, host=given.host, port=given.port, state_file=given.state) as feishu:
        if given.port_file:
            given.port_file.write_text(str(feishu.url.rpartition(":")[2]), encoding="utf-8")
        print(json.dumps(feishu.connection, ensure_ascii=True), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
