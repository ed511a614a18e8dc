"""Which contract tests are slow: what PEFT's methods have in common is asked of the first of each kind."""

from __future__ import annotations

import pytest

#: PEFT's methods share all that these ask about: how one is switched, moved, kept and brought back.
SHARED = {
    "test_a_second_one_is_active_wherever_the_switch_stood",
    "test_a_teacher_and_a_checkpoint_bring_it_back",
    "test_kept_features_are_never_stale",
    "test_none_is_the_bare_base",
    "test_those_before_stay_in_use_behind_a_new_one",
    "test_weights_are_moved_as_weights",
}


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them slow for methods whose kind came before."""
    asked = [item for item in items if getattr(item, "originalname", "") in SHARED]
    if not asked:
        return
    from tests.parts.adapters.test_peft import first_of_each_kind

    later = {method.values[0] for method in first_of_each_kind() if method.marks}
    for item in asked:
        if hasattr(item, "callspec") and item.callspec.params.get("part") in later:
            item.add_marker(pytest.mark.slow)
