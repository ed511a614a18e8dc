"""Few-shot classification on domains outside the stream: a linear probe and a cache, the model frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from clplat.data.folders import FolderTree, existing, read_folders, to_words, with_article
from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.mechanisms.caches import looked_up
from clplat.parts.probes._base import Group, ModelView, Probe, Probes
from clplat.randomness import generator

__all__ = ["FewShot", "linear_probe"]

#: Of zero-shot logits beside a cache, and the cache's weight and sharpness, as in Tip-Adapter's code.
_SCALE, _ALPHA, _BETA = 100.0, 1.0, 5.5
_STEPS = 100


class FewShot(Probes):
    """What a few labelled pictures of a domain outside the stream teach, on embeddings that stay as they are.

    A probe ``few-shot/<domain>`` per domain. Of every class 1, 4 and 16 pictures are drawn from those that
    `clplat.data.folders.split_of` calls training pictures, the same ones for every model version; the test
    pictures are classified, in percent, the mean over classes and draws:

    - ``zero``: by prompts alone, no shots;
    - ``linear K``: multinomial logistic regression on unit rows, ``sum_i CE(s W x_i, y_i) + |W|^2 / 2``, in
      float64, ``s`` the sharpness;
    - ``cache K``: ``100 x T' + exp(-5.5 (1 - x S')) Y``, T the prompts, S the shots with their classes Y.

    Nothing of the model is trained: the numbers say what its features are worth after adapting elsewhere.

    Args:
        folder: ``<folder>/<domain>/<class>/<picture>``, such as PACS.
        domains: that are outside the stream; all of the folder's unless given.
        shots: pictures per class; a class that has fewer gives all.
        draws: over which numbers are averaged.
        most: test pictures per class, at most.
        prompt: with ``{}`` for a class and its article.
        sharpness: of the linear probe's logits; higher regularises less.
        seed: of the draws.

    Raises:
        ValueError: numbers below 1, no shots, or a prompt without ``{}``.

    References:
        Radford et al. 2021 (CLIP, its linear probe), arXiv:2103.00020; Zhou et al. 2022 (CoOp, whose shots
        these are), arXiv:2109.01134; Zhang et al. 2022 (Tip-Adapter), arXiv:2207.09519.

    Example:
        >>> FewShot("data/pacs", domains=["sketch"]).shots
        (1, 4, 16)
    """

    def __init__(
        self,
        folder: str,
        domains: Sequence[str] = (),
        shots: Sequence[int] = (1, 4, 16),
        draws: int = 3,
        most: int = 50,
        prompt: str = "a photo of {}.",
        sharpness: float = 10.0,
        seed: int = 0,
    ) -> None:
        if not shots or min(*shots, draws, most) < 1 or not sharpness > 0:
            raise ValueError(
                f"shots, draws, most and sharpness must be above 0, not {[*shots]}, {draws}, {most}"
            )
        if "{}" not in prompt:
            raise ValueError(f"prompt needs {{}} where the class stands, not '{prompt}'")
        self.folder, self.domains, self.shots = folder, tuple(domains), tuple(sorted(set(shots)))
        self.draws, self.most, self.prompt = draws, most, prompt
        self.sharpness, self.seed = sharpness, seed

    def build(self) -> list[Probe]:
        """A probe per domain.

        Raises:
            UserError: no such folder or domain, or a domain without two classes with pictures of both splits.
        """
        tree = read_folders(existing(Path(self.folder)), self.domains or None)
        return [self._probe(tree, domain) for domain in self.domains or tree.domains]

    def _probe(self, tree: FolderTree, domain: str) -> Probe:
        shown: list[_Shown] = []
        names: list[str] = []
        drawn: list[list[list[int]]] = [[] for _ in range(self.draws)]
        for name in tree.classes:
            support, asked = (tree.pictures(domain, name, split) for split in ("train", "test"))
            if not support or not asked:
                continue
            places: dict[int, int] = {}  # in the folder -> among what is shown
            for draw, rows in enumerate(drawn):
                place = generator(self.seed, "few-shot", domain, name, draw)
                order = torch.randperm(len(support), generator=place)[: self.shots[-1]].tolist()
                for row in order:
                    if row not in places:
                        places[row] = len(shown)
                        shown.append(_Shown(support[row], len(names), True))
                rows.append([places[row] for row in order])
            spread = asked[:: -(-len(asked) // self.most)]
            shown += [_Shown(picture, len(names), False) for picture in spread]
            names.append(name)
        if len(names) < 2:
            raise UserError(f"domain '{domain}' of {self.folder} needs two classes to be told apart")
        said = tuple(self.prompt.format(with_article(to_words(name))) for name in names)
        return _Domain(self, domain, shown, said, drawn)


@dataclass(frozen=True)
class _Shown:
    picture: Picture
    label: int
    support: bool


class _Domain(Probe):
    """The probe of one domain.

    Args:
        drawn: draw -> class -> rows of what is shown, of which fewer shots are the first.
    """

    group: Group = "robustness"

    def __init__(
        self,
        options: FewShot,
        domain: str,
        shown: Sequence[_Shown],
        said: Sequence[str],
        drawn: Sequence[Sequence[Sequence[int]]],
    ) -> None:
        self.name, self.options, self.shown, self.drawn = f"few-shot/{domain}", options, shown, drawn
        self.pictures, self.texts = tuple(one.picture for one in shown), tuple(said)
        self.headline = f"linear {options.shots[-1]}"

    def identity(self) -> list[Any]:
        options = self.options
        labels = [[one.label, one.support] for one in self.shown]
        return [*super().identity(), labels, self.drawn, options.shots, options.sharpness]

    def measure(self, view: ModelView) -> dict[str, float]:
        """The accuracies by number of shots."""
        rows = view.images(self.pictures).detach().double()
        prompts = view.texts(self.texts).detach().double()
        labels = torch.tensor([one.label for one in self.shown])
        support = torch.tensor([one.support for one in self.shown])
        asked, right = rows[~support], labels[~support]
        zero = _SCALE * asked @ prompts.T
        found = {"zero": _accuracy(zero, right)}
        for shots in self.options.shots:
            linear, cache = [], []
            for draw in self.drawn:
                chosen = [row for own in draw for row in own[:shots]]
                x, y = rows[chosen], labels[chosen]
                weights = linear_probe(x, y, len(self.texts), self.options.sharpness)
                linear.append(_accuracy(asked @ weights.T, right))
                values = one_hot(y, len(self.texts)).double()
                cache.append(_accuracy(zero + _ALPHA * looked_up(asked @ x.T, values, _BETA), right))
            found[f"linear {shots}"] = sum(linear) / len(linear)
            found[f"cache {shots}"] = sum(cache) / len(cache)
        return found


def linear_probe(x: Tensor, y: Tensor, classes: int, sharpness: float) -> Tensor:
    """The weights (classes, D) that minimise ``sum_i CE(s W x_i, y_i) + |W|^2 / 2``, by L-BFGS from zero.

    Args:
        x: rows (N, D) in float64.
        y: their classes (N,).
        classes: how many there are.
        sharpness: s.
    """
    weights = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weights], max_iter=_STEPS, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = cross_entropy(sharpness * x @ weights.T, y, reduction="sum") + weights.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()


def _accuracy(logits: Tensor, right: Tensor) -> float:
    """Percent, the mean over classes."""
    hits = (logits.argmax(1) == right).double()
    return float(100 * torch.stack([hits[right == label].mean() for label in torch.unique(right)]).mean())
