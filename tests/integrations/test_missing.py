"""A library that is not there is named with the extra that brings it."""

from __future__ import annotations

import importlib
import sys

import pytest

from clplat.extras import MissingLibrary


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("avalanche", "avalanche"),
        ("lightning", "lightning"),
        ("open_clip", "open_clip_train"),
        ("sentence_transformers", "sentence_transformers"),
        ("transformers", "transformers"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    module: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    for name in (f"clplat.integrations.{module}", "clplat.training.plugin", "clplat.training.avalanche"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    if module == "sentence_transformers":
        pytest.importorskip("transformers")
    with pytest.raises(MissingLibrary, match=rf"needs {library}, .*: pip install 'clplat\["):
        importlib.import_module(f"clplat.integrations.{module}")
