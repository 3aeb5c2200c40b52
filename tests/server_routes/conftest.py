"""Processes that several files of these tests need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from saver_support import Shop, Shops


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    """One ComfyUI with all savers, and a sheet, for each host; a test that kills it leaves it running and idle."""
    open_ones: dict[Any, Shop] = {}

    def of(host: Any) -> Shop:
        if host not in open_ones:
            open_ones[host] = Shop(tmp_path_factory.mktemp(f"shop-{host}"), host)
            open_ones[host].comfy.start()
        return open_ones[host]

    yield of
    for shop in open_ones.values():
        shop.close()
