"""Tests marked `vm` start real VMs as root; they run when asked for: `pytest -m vm`."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vm: starts real VMs, as root; chosen by `-m vm`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "vm" in config.getoption("-m"):
        return
    chosen = [item for item in items if item.get_closest_marker("vm") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
