"""Random stories of one ComfyUI and one sheet.

`WFRECOVERY_HISTORIES` of them (40), from `WFRECOVERY_SEED` (0, so that what passed here passes there; `random` looks
for new ones), which is printed: twenty from it, twenty from the next, so that several processes share them. What
they found stands in `test_story_found.py` as it was found.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from story_machine import StoryMachine

HISTORIES = int(os.environ.get("WFRECOVERY_HISTORIES", "40"))
_GIVEN = os.environ.get("WFRECOVERY_SEED") or "0"
SEED = random.randrange(2**32) if _GIVEN == "random" else int(_GIVEN)
EACH = 20


@pytest.mark.parametrize("part", range(-(-HISTORIES // EACH)))
def test_any_story_ends_well(part: int) -> None:
    histories = min(EACH, HISTORIES - part * EACH)
    print(f"WFRECOVERY_SEED={SEED + part} WFRECOVERY_HISTORIES={histories}")
    told = settings(
        max_examples=histories,
        stateful_step_count=15,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED + part)(StoryMachine), settings=told)
