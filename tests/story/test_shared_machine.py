"""Random stories of a table that several work in, as `test_story_machine.py` tells those of one ComfyUI; as many
hundredths of WFRECOVERY_HISTORIES as stand in `SHARE`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from shared_machine import BeatMachine, SharedMachine
from test_story_machine import HISTORIES, SEED

SHARE = {SharedMachine: 14, BeatMachine: 3}


@pytest.mark.parametrize("machine", [SharedMachine, BeatMachine])
def test_any_story_of_several_ends_well(machine: type[SharedMachine]) -> None:
    histories = max(1, HISTORIES * SHARE[machine] // 100)
    print(f"WFRECOVERY_SEED={SEED} WFRECOVERY_HISTORIES={HISTORIES}")
    told = settings(
        max_examples=histories,
        stateful_step_count=12,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(machine), settings=told)
