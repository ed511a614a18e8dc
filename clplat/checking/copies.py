"""Pictures that are equal, or look alike, under different keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from clplat.checking.pictures import Look

__all__ = ["groups_of_equals", "pairs_alike"]

#: Bits of a hash that two pictures which look alike may differ in; one fewer than there are bands.
APART = 4
_BANDS = (13, 13, 13, 13, 12)
#: Pictures that share a band, beyond which they are too plain for it to say anything.
_CROWD = 500


def groups_of_equals(looks: Mapping[str, Look]) -> list[list[str]]:
    """Keys of pictures whose pixels are equal, two or more at a time."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, look in looks.items():
        if look.digest:
            found[look.digest].append(key)
    return [sorted(keys) for keys in found.values() if len(keys) > 1]


def pairs_alike(looks: Mapping[str, Look]) -> list[tuple[str, str]]:
    """Pairs of pictures that look alike and are not equal: hashes apart in four bits of 64 at most.

    Such hashes share one of five bands of bits, so that only pictures of one band are compared. Bands that
    more than 500 pictures share, as plain ones do, are passed over. Plain pictures, of hash 0, are too.
    """
    bands: dict[tuple[int, int], list[str]] = defaultdict(list)
    for key, look in looks.items():
        if look.digest and look.hash:
            for place, band in enumerate(_bands(look.hash)):
                bands[place, band].append(key)
    found = set()
    for keys in bands.values():
        if len(keys) <= _CROWD:
            for one, two in combinations(sorted(keys), 2):
                a, b = looks[one], looks[two]
                if a.digest != b.digest and (a.hash ^ b.hash).bit_count() <= APART:
                    found.add((one, two))
    return sorted(found)


def _bands(bits: int) -> Iterator[int]:
    for width in _BANDS:
        yield bits & ((1 << width) - 1)
        bits >>= width
