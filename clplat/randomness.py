"""Every random draw comes from the experiment's seed and from *where* it happens, never from global state.

Because a draw depends only on its place (purpose, experience, epoch, iteration), a resumed run needs no
saved generator states to end with the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derive", "generator", "seeded"]


def derive(seed: int, *place: str | int) -> int:
    """A 63-bit seed for one place, equal on every machine.

    Example:
        >>> derive(0, "order", 1) == derive(0, "order", 1), derive(0, "order", 1) == derive(0, "order", 2)
        (True, False)
    """
    text = "/".join(str(part) for part in (seed, *place))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *place: str | int) -> torch.Generator:
    """A CPU generator for one place."""
    return torch.Generator().manual_seed(derive(seed, *place))


@contextmanager
def seeded(seed: int, *place: str | int) -> Iterator[None]:
    """Run code that insists on torch's global generator (dropout, layer initialisation) under a local seed.

    The generators of the CPU and of the current GPU are put back afterwards: callers see no change.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        value = derive(seed, *place)
        torch.default_generator.manual_seed(value)
        if devices:
            torch.cuda.manual_seed(value)
        yield
