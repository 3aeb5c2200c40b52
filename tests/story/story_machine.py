"""The machine that makes stories: everything that can happen to a world, in any order, judged after each step."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from judge import Judge
from savers import SHAPES
from world import FAULTS, ROWS, World

ROW = st.none() | st.integers(1, ROWS) | st.integers(1, ROWS)
SHAPE = st.sampled_from(list(SHAPES))
#: At which operation of the disk it dies; mostly at none.
DIES = st.none() | st.none() | st.none() | st.integers(1, 40)
INDEX = st.integers(0, 30)


def up(machine: StoryMachine) -> bool:
    return machine.world.alive


def posted(machine: StoryMachine) -> bool:
    return up(machine) and bool(machine.world.posts)


class StoryMachine(RuleBasedStateMachine):
    """One story. `told` counts them."""

    told: ClassVar[int] = 0

    @initialize(six=st.booleans(), lost=st.sampled_from(["ask", "auto"]), late=st.booleans())
    def begin(self, six: bool, lost: str, late: bool) -> None:
        StoryMachine.told += 1
        self.world = World(six=six, lost=lost)
        self.judge = Judge(self.world)
        self.world.start(late=late)

    # ------------------------------------------------------------------ prompts

    @precondition(up)
    @rule(row=ROW, shape=SHAPE, turns=st.integers(0, 8), dies=DIES)
    def post(self, row: int | None, shape: str, turns: int, dies: int | None) -> None:
        self.world.post(row, shape, dies=dies)
        if self.world.alive:
            self.world.work(turns)

    @precondition(posted)
    @rule(which=INDEX, row=ROW, dies=DIES)
    def post_the_same_graph_again(self, which: int, row: int | None, dies: int | None) -> None:
        posts = self.world.posts
        self.world.again(posts[-1 - which % len(posts)], row, dies=dies)

    @precondition(posted)
    @rule(which=INDEX, row=ROW, shape=SHAPE, dies=DIES)
    def post_under_the_same_id(self, which: int, row: int | None, shape: str, dies: int | None) -> None:
        posts = self.world.posts
        self.world.post(row, shape, same_id=posts[-1 - which % len(posts)], dies=dies)

    @precondition(posted)
    @rule(turns=st.integers(1, 8), dies=DIES)
    def work(self, turns: int, dies: int | None) -> None:
        self.world.work(turns, dies=dies)

    @precondition(posted)
    @rule()
    def work_to_the_end(self) -> None:
        self.world.work_all()

    @precondition(posted)
    @rule(slow=st.booleans(), dies=DIES)
    def the_writing_thread(self, slow: bool, dies: int | None) -> None:
        self.world.lag(slow, dies=dies)

    # ------------------------------------------------------------------ death

    @precondition(posted)
    @rule(writing=st.booleans())
    def kill(self, writing: bool) -> None:
        self.world.kill(writing=writing)

    @precondition(lambda self: not self.world.alive)
    @rule(dies=DIES, working=st.booleans(), late=st.booleans())
    def start(self, dies: int | None, working: bool, late: bool) -> None:
        self.world.start(dies=dies, working=working, late=late)
        if self.world.alive:
            self.judge.started()

    @precondition(posted)
    @rule(dies=DIES)
    def recover_once_more(self, dies: int | None) -> None:
        self.world.recover(dies=dies)

    # ------------------------------------------------------------------ Feishu

    @precondition(posted)
    @rule(dies=DIES, call=st.none() | st.tuples(st.integers(1, 8), st.sampled_from(["before", "after"])))
    def flush(self, dies: int | None, call: tuple[int, str] | None) -> None:
        self.world.flush(dies=dies, call=call)

    @precondition(posted)
    @rule(
        fault=st.sampled_from(FAULTS), match=st.sampled_from(["", "values_image", "values_batch_update", "values_get"])
    )
    def something_goes_wrong_with_feishu(self, fault: Any, match: str) -> None:
        self.world.fault(fault, match)

    @precondition(posted)
    @rule(away=st.booleans())
    def feishu_goes_or_comes_back(self, away: bool) -> None:
        self.world.away(away)

    @precondition(posted)
    @rule()
    def time_goes_by(self) -> None:
        self.world.wait()

    # ------------------------------------------------------------------ people

    @precondition(lambda self: self.world.lying)
    @rule(which=INDEX, delete=st.booleans())
    def take_a_file_away(self, which: int, delete: bool) -> None:
        files = [file for file in self.world.lying.values() if file.whole]
        if files:
            self.world.take_away(files[-1 - which % len(files)], delete=delete)

    @precondition(posted)
    @rule(which=INDEX, action=st.sampled_from(["retry", "retry", "push"]), dies=DIES)
    def press_a_button(self, which: int, action: str, dies: int | None) -> None:
        tasks = sorted(self.world.records())
        if tasks:
            self.world.act(tasks[-1 - which % len(tasks)], action, dies=dies)

    # ------------------------------------------------------------------ the judge

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "judge"):
            self.judge.always()

    def teardown(self) -> None:
        if hasattr(self, "judge"):
            try:
                self.world.heal()
                self.judge.healed()
            finally:
                self.world.close()
