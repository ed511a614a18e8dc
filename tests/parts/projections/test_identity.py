"""The identity needs two spaces of one width."""

from __future__ import annotations

import pytest

from clplat.errors import UserError
from clplat.parts.projections.identity import Identity


def test_identity_needs_one_width(pairs):
    with pytest.raises(UserError, match="cannot map width 12 to 8"):
        Identity().fit(*pairs(old_width=8))
