"""MIT-States: things in states; a picture of one state and the word for another."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Literal

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Example, Gallery, Picture, Protocol, Query, RetrievalSet, Triplet
from clplat.errors import UserError
from clplat.randomness import derive

from ._cir import Benchmark, Read, finished

__all__ = ["MITStates"]

_NOUNS = (
    "armor bracelet bush camera candy castle ceramic cheese clock clothes coffee fan fig fish foam forest "
    "fruit furniture garden gate glass horse island laptop lead lightning mirror orange paint persimmon "
    "plastic plate potato road rubber sand shell sky smoke steel stream table tea tomato vacuum wax wheel "
    "window wool"
)
#: The nouns that TIRG holds out; nothing of them is trained on.
HELD_OUT = frozenset(_NOUNS.split())
_Pair = tuple[str, str]


class MITStates(Benchmark):
    """One domain; nouns of the test are never trained on.

    A query is a picture and each other state of its noun. A picture of the wanted state and noun is a right
    answer; the reference cannot be one. R@1, R@5, R@10, R@50, R@100. Queries have the tag ``noun``, training
    examples the group.

    Args:
        root: the folder with ``images/<adjective> <noun>/*.jpg``.
        train: training triplets, drawn among pictures of one noun in two states.
        text: what is said of the change, with the wanted ``{adjective}``.
        also: ``adjective`` and ``noun`` measure beside it whether at least that word is right, as sets
            ``test/adjective`` and ``test/noun``.
        missing: pictures that are not there are refused, or left out and declared.
        seed: of the training triplets.

    Reference:
        Isola et al., "Discovering States and Transformations in Image Collections", CVPR 2015; the task of
        Vo et al., "Composing Text and Image for Image Retrieval", CVPR 2019, arXiv:1812.07119, as in
        google/tirg at 0ad2fd9.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import mit_states
        >>> domain = MITStates(str(mit_states(Path(mkdtemp()))), train=20).build()[0][0]
        >>> {query.tags["noun"] for query in domain.test.queries} <= HELD_OUT
        True
    """

    def __init__(
        self,
        root: str,
        train: int = 5000,
        text: str = "{adjective}",
        also: list[Literal["adjective", "noun"]] | None = None,
        missing: MissingPictures = "refuse",
        seed: int | None = None,
    ) -> None:
        if train < 1:
            raise ValueError(f"train must be at least 1, not {train}")
        if "{adjective}" not in text:
            raise ValueError(f"text needs {{adjective}} in it, not '{text}'")
        self.root, self.train, self.text, self.also = root, train, text, also
        self.missing, self.seed = missing, seed

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(Path(self.root).expanduser() / "images", "mit_states")

    @cached_property
    def _read(self) -> Read:
        files = PictureFiles(Path(self.root).expanduser() / "images", "mit_states")
        shown = _pictures(files)
        asked = {pair: held for pair, held in shown.items() if pair[1] in HELD_OUT}
        learnt = {pair: held for pair, held in shown.items() if pair[1] not in HELD_OUT}
        if not asked or not learnt:
            lacks = "test" if learnt else "training"
            raise UserError(f"{files.root} has no folder '<adjective> <noun>' of a noun for {lacks}")
        gallery = Gallery("mit-states-test", [picture for held in asked.values() for picture in held])
        sets = {"test": RetrievalSet(self._queries(asked, "pair"), gallery, _protocol("correct-composition"))}
        for word in self.also or ():
            sets[f"test/{word}"] = RetrievalSet(
                self._queries(asked, word), gallery, _protocol(f"correct-{word}")
            )
        train = self._triplets(learnt)
        counts = {
            "train/pictures": sum(map(len, learnt.values())),
            "test/pictures": len(gallery.items),
            "test/queries": len(sets["test"].queries),
        }
        return finished(
            Read([Domain("mit-states", train, sets=sets)], counts, {}), [files], self.missing, "mit_states"
        )

    def _queries(self, asked: dict[_Pair, list[Picture]], right: str) -> tuple[Query, ...]:
        """All queries; ``right`` says what an answer must share with what is wanted."""
        answers: dict[str, list[str]] = defaultdict(list)
        for pair, held in asked.items():
            answers[_shared(pair, right)] += [picture.key for picture in held]
        found = {name: tuple(keys) for name, keys in answers.items()}
        states = _states(asked)
        queries = []
        for (adjective, noun), held in asked.items():
            for picture in held:
                for other in states[noun]:
                    if other == adjective:
                        continue
                    targets = found[_shared((other, noun), right)]
                    if right == "noun":  # the reference has the noun, and is no candidate
                        targets = tuple(key for key in targets if key != picture.key)
                    text = self.text.format(adjective=other)
                    name = f"{picture.key.partition('/')[2]} -> {other}"
                    queries.append(Query(name, picture, text, targets, {"noun": noun}))
        return tuple(queries)

    def _triplets(self, learnt: dict[_Pair, list[Picture]]) -> list[Example]:
        draw = random.Random(derive(self.seed or 0, "mit_states"))
        states = {noun: found for noun, found in _states(learnt).items() if len(found) > 1}
        if not states:
            raise UserError("no noun for training has two states")
        pictures = [(p, a, n) for (a, n), held in learnt.items() if n in states for p in held]
        triplets = []
        for number in range(self.train):
            reference, adjective, noun = draw.choice(pictures)
            other = draw.choice([state for state in states[noun] if state != adjective])
            target = draw.choice(learnt[other, noun])
            text, groups = self.text.format(adjective=other), {"noun": noun}
            label = f"{other} {noun}"
            triplets.append(Triplet(str(number), reference, text, target, label, "mit-states", groups=groups))
        return triplets


def _protocol(name: str) -> Protocol:
    return Protocol(
        f"mit-states/{name}",
        exclude_reference=True,
        metrics=tuple(f"R@{k}" for k in (1, 5, 10, 50, 100)),
        primary="R@10",
    )


def _pictures(files: PictureFiles) -> dict[_Pair, list[Picture]]:
    """Pictures by adjective and noun; folders of nouns without an adjective are passed over, as by TIRG."""
    found = {}
    for folder in sorted(os.listdir(files.root)):
        words = folder.split()
        if len(words) == 2 and words[0] != "adj" and (files.root / folder).is_dir():
            names = sorted(os.listdir(files.root / folder))
            held = [
                files.picture(f"{folder}/{name}", folder) for name in names if name.lower().endswith(".jpg")
            ]
            if held:
                found[words[0], words[1]] = held
    return found


def _states(shown: dict[_Pair, list[Picture]]) -> dict[str, list[str]]:
    """The states of each noun."""
    states: dict[str, list[str]] = defaultdict(list)
    for adjective, noun in shown:
        states[noun].append(adjective)
    return states


def _shared(pair: _Pair, right: str) -> str:
    return {"pair": " ".join(pair), "adjective": pair[0], "noun": pair[1]}[right]
