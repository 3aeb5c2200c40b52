"""Any sequence of what happens to an owner and its files, and of looks at it: who is taken for dead is dead, or was
silent for 90 seconds of looking; and who is dead is taken for it in the end."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from owner_processes import Looker

from wfrecovery.bridge.table.lives import SILENCE_SECONDS, OwnerFile

BOOT = "b" * 32


class OwnerStory(RuleBasedStateMachine):
    """An owner made of files: its lock is held by a descriptor of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        self.lives, self.descriptor, self.moved = True, -1, 0
        self.told = OwnerFile(BOOT, kernel="here")
        #: seconds that were looked at since its beat was last seen to move, as far as the looker may count them
        self.silent = 0.0
        self.since = 0

    @initialize(locks=st.booleans())
    def begin(self, locks: bool) -> None:
        self.locks = locks
        self.looker = Looker(Path(self.home.name), locks_hold=locks)
        self.folder = self.looker.owners.folder
        self.folder.mkdir(parents=True)
        self.beat()

    @property
    def lock(self) -> Path:
        return self.folder / f"{BOOT}.lock"

    @property
    def json(self) -> Path:
        return self.folder / f"{BOOT}.json"

    def is_proof(self) -> bool:
        """Whether the lock that it noted is there."""
        try:
            status = self.lock.stat()
            told = OwnerFile.of(BOOT, self.json.read_bytes())
        except OSError:
            return False
        return self.locks and told.lock == (status.st_dev, status.st_ino)

    @precondition(lambda self: self.lives)
    @rule()
    def beat(self) -> None:
        """It makes again what is not its own."""
        if self.descriptor < 0 or not self.lock.exists() or os.fstat(self.descriptor).st_ino != self.lock.stat().st_ino:
            before, self.descriptor = self.descriptor, os.open(self.lock, os.O_CREAT | os.O_RDWR)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            if before >= 0:
                os.close(before)
        status = os.fstat(self.descriptor)
        self.moved += 1
        self.told = dataclasses.replace(self.told, lock=(status.st_dev, status.st_ino), beat=self.moved)
        self.json.write_bytes(self.told.to_json())
        os.utime(self.json, ns=(self.moved, self.moved * 1000))

    @rule()
    def kill(self) -> None:
        self.lives = False
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    @rule(kinds=st.sampled_from([("lock",), ("json",), ("lock", "json")]))
    def delete(self, kinds: tuple[str, ...]) -> None:
        for kind in kinds:
            (self.folder / f"{BOOT}.{kind}").unlink(missing_ok=True)

    @rule()
    def replace(self) -> None:
        other = self.folder / "other"
        other.touch()
        other.replace(self.lock)

    @rule(seconds=st.sampled_from([0.5, 1, 5, 10, 30, 3600, -3600]))
    def wait(self, seconds: float) -> None:
        self.looker.clock.now += seconds

    @rule(times=st.integers(1, 12))
    def look(self, times: int) -> None:
        for _ in range(times):
            self.looker.clock.now += 5
            moved = self.json.exists() and self.moved != self.since  # a beat that is deleted at once is not seen
            self.silent, self.since = (0.0, self.moved) if moved else (self.silent + 10, self.since)
            dead = self.looker.may_take(BOOT)
            if self.is_proof():
                assert dead is not self.lives
            elif dead:
                assert self.silent >= SILENCE_SECONDS

    def teardown(self) -> None:
        """In the end everybody knows."""
        if hasattr(self, "looker"):
            self.kill()
            self.looker.clock.now += 5
            assert self.looker.waits_for(BOOT) <= (0 if self.is_proof() else SILENCE_SECONDS)
        self.home.cleanup()


def test_silence_before_its_lock_proved_that_it_lives_does_not_count() -> None:
    owner = OwnerStory()
    owner.begin(locks=True)
    owner.delete(("lock",))
    owner.look(11)
    owner.beat()
    owner.look(1)
    owner.delete(("json",))
    owner.look(7)
    owner.teardown()


TestOwnerStory = OwnerStory.TestCase
TestOwnerStory.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
