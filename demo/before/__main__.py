"""python -m wfrecovery.demo.before [--retry] [--dry-run]"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from .feishu import FeishuClient
from .runninghub import RunningHubClient
from .workflows import FAILED, WorkflowManager

log = logging.getLogger("main")


def report(results: list[dict[str, Any]]) -> int:
    """What became of the rows; the exit code."""
    failures = [task for task in results if task["status"] == FAILED]
    for task in failures:
        log.error("row %s: %s", task["row_number"], task["error_message"])
    log.info("%d results, %d failed", len(results) - len(failures), len(failures))
    return 1 if failures else 0


async def main_process(arguments: argparse.Namespace) -> int:
    """The whole batch."""
    env = os.environ
    cloud = RunningHubClient(
        env.get("RUNNINGHUB_URL", "https://www.runninghub.cn"),
        env["RUNNINGHUB_API_KEY"],
        float(env.get("POLL_SECONDS", "3")),
    )
    feishu = FeishuClient(
        env.get("FEISHU_DOMAIN", "https://open.feishu.cn"),
        env["FEISHU_APP_ID"],
        env["FEISHU_APP_SECRET"],
        env["FEISHU_SPREADSHEET_TOKEN"],
        env["FEISHU_SHEET_NAME"],
    )
    manager = WorkflowManager(cloud, feishu, Path(env.get("OUTPUT", "output")))
    results = await manager.process(retry=arguments.retry, dry_run=arguments.dry_run)
    return report(results)


def main() -> int:
    """0 when every row ended well."""
    parser = argparse.ArgumentParser(description="Pictures and videos for all open rows of the sheet.")
    parser.add_argument("--retry", action="store_true", help="also the rows that failed")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return asyncio.run(main_process(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
