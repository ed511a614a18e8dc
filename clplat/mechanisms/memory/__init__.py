"""Memories of earlier experiences: the store, the policies that choose for it, what they look at, batches."""

from __future__ import annotations

from clplat.mechanisms.memory.store import Memory, Policy

__all__ = ["Memory", "Policy"]
