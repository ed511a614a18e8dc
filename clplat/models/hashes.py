"""Digests of tensors, computed again only where a tensor changed."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

__all__ = ["Hashes", "state_of"]

#: What was not asked for during so many turns is forgotten: the tensors of a teacher that is gone, say.
TURNS = 2


class Hashes:
    """Remembers the digests of tensors.

    A tensor is known by its place, its version and two checksums, which are ten times as fast as a digest and
    see what was written behind autograd's back. What is known is held on to, so that no other tensor can take
    its place in memory meanwhile.

    Example:
        >>> hashes, weight = Hashes(), torch.ones(4)
        >>> before = hashes.digest(weight)
        >>> _ = weight.data.mul_(2)
        >>> hashes.digest(weight) == before
        False
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Tensor, str]] = {}
        self._used: dict[Any, int] = {}
        self._turn = 0

    def __deepcopy__(self, memo: Any) -> Hashes:
        """Copies of tensors lie elsewhere: nothing is known of them."""
        return Hashes()

    def turn(self) -> None:
        """Forget what was not asked for lately."""
        self._turn += 1
        for place in [place for place, turn in self._used.items() if turn < self._turn - TURNS]:
            del self._known[place], self._used[place]

    def digest(self, tensor: Tensor) -> str:
        """SHA-256 of a tensor's type, shape and bytes."""
        place = _place(tensor)
        if place not in self._known:
            self._known[place] = (tensor.detach(), _sha256(tensor))
        self._used[place] = self._turn
        return self._known[place][1]

    def learn(self, tensor: Tensor, digest: str) -> None:
        """Take over the digest of an equal tensor."""
        place = _place(tensor)
        self._known[place], self._used[place] = (tensor.detach(), digest), self._turn


def state_of(tensor: Tensor) -> tuple[int, int]:
    """Place in memory and version.

    A parameter whose ``data`` was exchanged for another tensor's, as a teacher does, keeps a version count of
    its own, which training moves. The other tensor, its ``stand_in``, knows better.
    """
    tensor = getattr(tensor, "stand_in", tensor)
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version  # inference tensors count none


def _place(tensor: Tensor) -> tuple[Any, ...]:
    words = tensor.detach().contiguous().flatten().view(torch.uint8)
    words = words.view(torch.int64) if words.numel() % 8 == 0 else words
    sums = torch.stack([words.sum(), words[::3].sum()]).tolist()
    return (*state_of(tensor), tensor.shape, tensor.stride(), tensor.dtype, *sums)


def _sha256(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}".encode())
    if plain.numel():
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
