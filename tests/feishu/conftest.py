"""For tests that count calls to Feishu, or fail a certain one of them."""

from __future__ import annotations

import pytest

from wfrecovery.bridge.feishu import reading


@pytest.fixture
def _readings_stay_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was confirmed longer than a second ago is looked at again, which is a call more on a slow machine."""
    monkeypatch.setattr(reading, "_TRUSTED_SECONDS", 120.0)
