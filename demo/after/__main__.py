"""python -m wfrecovery.demo.after [--retry] [--dry-run]"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from wfrecovery import bridge

from .workflows import DONE, FAILED, WorkflowManager

log = logging.getLogger("main")


def report(results: list[dict[str, Any]], unfinished: list[dict[str, Any]]) -> int:
    """What became of the rows; the exit code."""
    failures = [task for task in results if task["status"] == FAILED]
    for task in failures + unfinished:
        log.error("row %s: %s", task["row_number"], task["error_message"])
    done = [task for task in results if task["status"] == DONE]
    log.info("%d results, %d failed, %d wait for a decision", len(done), len(failures), len(unfinished))
    return 1 if failures or unfinished else 0


async def main_process(arguments: argparse.Namespace) -> int:
    """The whole batch."""
    settings = bridge.load_settings()
    cloud = bridge.RunningHubClient.from_settings(settings)
    cloud.poll_seconds = float(os.environ.get("POLL_SECONDS", "3"))
    feishu = bridge.FeishuClient.from_settings(settings)
    manager = WorkflowManager(cloud, feishu, Path(settings.output_dir or "output"))
    try:
        results = await manager.process(retry=arguments.retry, dry_run=arguments.dry_run)
    except bridge.FeishuError as error:
        log.error("%s", error)
        return 1
    return report(results, manager.db.get_incomplete_tasks())


def main() -> int:
    """0 when every row ended well."""
    parser = argparse.ArgumentParser(description="Pictures and videos for all open rows of the sheet.")
    parser.add_argument("--retry", action="store_true", help="also the rows that failed")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return asyncio.run(main_process(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
