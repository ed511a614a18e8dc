"""Which contract tests are slow: what PEFT's methods have in common is asked of the first of each kind."""

from __future__ import annotations

import pytest

#: Costs a method two trainings, and PEFT's methods share all that it asks about.
STACKED = "test_those_before_stay_in_use_behind_a_new_one"


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark it slow for methods whose kind came before."""
    asked = [item for item in items if getattr(item, "originalname", "") == STACKED]
    methods = {item.callspec.params.get("part"): item for item in asked if hasattr(item, "callspec")}
    if not methods:
        return
    from tests.parts.adapters.test_peft import first_of_each_kind

    for method in first_of_each_kind():
        if method.marks and (item := methods.get(method.values[0])):
            item.add_marker(pytest.mark.slow)
