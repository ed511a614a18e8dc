"""Digests of tensors, computed again only where a tensor changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["Hashes", "tensor_digest"]

#: A digest that was not requested during more calls of `Hashes.age` is forgotten: of an old teacher, say.
AGES = 2


class Hashes:
    """Remembers the digests of tensors.

    A tensor is identified by its address, its version and two checksums, which are ten times as fast as a
    digest and notice what was written behind autograd's back. It is kept alive, so that no other tensor can
    take its address meanwhile.

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
        self._age = 0
        self._aliases: dict[int, Tensor] = {}

    def __deepcopy__(self, memo: Any) -> Hashes:
        """Copies of tensors have other addresses: no digest is known."""
        return Hashes()

    def age(self) -> None:
        """Forget digests that were not requested lately."""
        self._age += 1
        for identity in [one for one, age in self._used.items() if age < self._age - AGES]:
            del self._known[identity], self._used[identity]

    def digest(self, tensor: Tensor) -> str:
        """The `tensor_digest`, remembered."""
        identity = self._identity(tensor)
        if identity not in self._known:
            self._known[identity] = (tensor.detach(), tensor_digest(tensor))
        self._used[identity] = self._age
        return self._known[identity][1]

    def remember(self, tensor: Tensor, digest: str) -> None:
        """Take over the digest of an equal tensor."""
        identity = self._identity(tensor)
        self._known[identity], self._used[identity] = (tensor.detach(), digest), self._age

    @contextmanager
    def alias(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[None]:
        """Inside, the first tensor of each pair has the ``data`` of the second, and goes by its version.

        A parameter whose ``data`` was exchanged, as a teacher does, keeps a version count of its own, which
        training moves. The version of the other tensor is the right one.
        """
        before = self._aliases
        self._aliases = before | {id(tensor): other for tensor, other in pairs}
        try:
            yield
        finally:
            self._aliases = before

    def state(self, tensor: Tensor) -> tuple[int, int]:
        """Address and version."""
        tensor = self._aliases.get(id(tensor), tensor)
        version = 0 if tensor.is_inference() else tensor._version  # inference tensors count none
        return tensor.data_ptr(), version

    def _identity(self, tensor: Tensor) -> tuple[Any, ...]:
        words = tensor.detach().contiguous().flatten().view(torch.uint8)
        words = words.view(torch.int64) if words.numel() % 8 == 0 else words
        sums = torch.stack([words.sum(), words[::3].sum()]).tolist()
        return (*self.state(tensor), tensor.shape, tensor.stride(), tensor.dtype, *sums)


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and bytes."""
    plain = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}".encode())
    if plain.numel():
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
