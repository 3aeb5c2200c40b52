"""Three of ten calls fail, people edit and programs are killed, however the service counts `revision`: each picture in
its row once, or a reason.

`WFRECOVERY_STORY_ROWS=100` is the full size (4 rows), `WFRECOVERY_SEEDS=3` tells more stories of each kind (1),
`WFRECOVERY_SEED=random` others, and `WFRECOVERY_SEED=` with the number that it has printed the same again.
"""

from __future__ import annotations

import os
import random
import secrets
from pathlib import Path

import pytest
from sheet_story import SLOW, KilledError, Story, described, header, sheet_rows

from wfrecovery.demo.feishu_host.stand_in import RETRYABLE, Fault, FeishuStandIn, Switches

ROWS = int(os.environ.get("WFRECOVERY_STORY_ROWS", "4"))
SEEDS = range(int(os.environ.get("WFRECOVERY_SEEDS", "1")))
_SEED = os.environ.get("WFRECOVERY_SEED", "7")
SEED = secrets.randbelow(10**9) if _SEED == "random" else int(_SEED)
WAYS = (*RETRYABLE, Fault.SLOW, Fault.SLOW_BEFORE)
MODES = ("one", "two", "pictures two", "still", "by sheet", "missing", "restless")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", SEEDS)
def test_each_picture_comes_into_its_row_once_or_a_reason_is_told(
    mode: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wfrecovery.bridge.feishu.client._READ_WAITS", ())
    monkeypatch.setattr("wfrecovery.bridge.feishu.picture_delivery._SEEN_WITHIN", 0.0)
    seed = SEED + number
    dice = random.Random(f"{mode} {seed}")
    switches = Switches.drawn(dice, revision=mode)
    print(f"seed {seed}, revision {mode}: {switches}")
    numbered = dice.random() < 0.7
    with FeishuStandIn(sheet_rows(ROWS), header=header(numbered=numbered), switches=switches) as feishu:
        for rate in ("sheet_calls_per_second", "sheet_v3_calls_per_minute", "downloads_per_second"):
            setattr(feishu.limits, rate, None)  # of a clock that nobody moves
        feishu.faults.random(seed, 0.3, WAYS, seconds=SLOW)
        story = Story(feishu, tmp_path, dice, edits=ROWS // 2 + 2)
        rounds, kills, waiting = 0, 0, True
        while (story.people.left or waiting) and rounds < 60 + ROWS:
            rounds += 1
            if dice.random() < 0.5:
                story.people.work()
            if dice.random() < 0.2:
                story.restart()
            try:
                waiting = story.round(most=max(2, ROWS // 10))
            except KilledError:
                kills += 1
                story.restart()
            story.until_idle()
        feishu.faults.clear()
        story.restart()
        story.people.left = 0
        while story.round(most=ROWS):
            rounds += 1
            assert rounds < 120 + 2 * ROWS
        caplog.clear()
        story.round(most=0)
        verdict = story.judged(caplog.text)
        print(
            f"seed {seed}, revision {mode}, 任务号 {numbered}, "
            f"{rounds} rounds, {kills} kills, {len(feishu.calls)} calls, "
            f"{sum(feishu.faults.struck.values())} failed, {dict(story.people.done)}: {described(verdict)}"
        )
        assert verdict.right, verdict
