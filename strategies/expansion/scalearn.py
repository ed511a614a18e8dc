"""ScaLearn: the LoRAs of all domains run side by side, and a domain learns how far each counts for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import nn

from clplat.config.space import Float
from clplat.mechanisms.growth import GrowthState
from clplat.mechanisms.low_rank import LowRankSum, ScaledSource
from clplat.parts.adapters._growing import Growing, PerDomain
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["ScaLearn"]

_LORA = Growing(targets="mlp")


class ScaLearn(Strategy):
    """Growth: ``o = sum_i omega_i o_i`` over the LoRAs of all domains, frozen; a domain learns omega.

    Two phases for each domain: ``source`` trains its LoRA on the bare base, as if it were alone; ``transfer``
    trains omega alone, of all LoRAs so far, which begin at N(scale / n, 0.001) for n of them. They are used
    as they are: no softmax, no sum of one. No example of an earlier domain is read. The first domain has
    nothing to mix: its omega begins at 1.

    Args:
        omega: one number for each LoRA and layer, or a vector over the layer's outputs.
        shared: one omega for all layers of a tower of one width (the paper's ``++``).
        scale: sum of what the omegas begin with.
        transfer_epochs: of the second phase; ``train.epochs`` unless given.
        lora: the LoRA of a domain.

    Raises:
        ValueError: another form of omega, fewer than one epoch.

    References:
        Frohmann et al., "ScaLearn: Simple and Highly Parameter-Efficient Task Transfer by Learning to Scale",
        Findings of ACL 2024, arXiv 2310.01217.

    Numbers:
        ``omega <domain>``: of each domain's LoRA, the mean over layers and outputs; ``omegas``: how many
        numbers the second phase trains.

    Needs:
        A `ComposedRetriever` without another adapter, and a loop with phases. A composer with weights is
        trained in the first phase of each domain.

    Relations:
        `SDLoRA` trains magnitudes and the newest change together, on top of the earlier ones;
        `RoutedExperts` chooses for each picture.

    Example:
        >>> ScaLearn(omega="scalar", shared=True).scale
        2.0
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    state = ("_mixed", "_omegas", "_count")

    def __init__(
        self,
        omega: Literal["scalar", "vector"] = "vector",
        shared: bool = False,
        scale: Annotated[float, Float(0.5, 3.0)] = 2.0,
        transfer_epochs: int | None = None,
        lora: Growing = _LORA,
    ) -> None:
        if omega not in ("scalar", "vector"):
            raise ValueError(f"omega is '{omega}'; allowed: scalar, vector")
        if transfer_epochs is not None and transfer_epochs < 1:
            raise ValueError(f"transfer_epochs must be at least 1, not {transfer_epochs}")
        self.omega, self.shared, self.scale = omega, shared, scale
        self.transfer_epochs, self.lora = transfer_epochs, lora
        self.changes = PerDomain(lora, "scalearn", partial(ScaledSource, each_output=omega == "vector"))
        self._mixed = False
        self._omegas: list[float] = []
        self._count = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._share(self.changes.grow(learner.model))
        self._mixed = False
        sources = [change for layer in self._layers(learner) for change in _sources(layer)]
        omegas = {id(change.omega): change.omega for change in sources}
        domains = self.changes.domains
        for omega in omegas.values():
            nn.init.normal_(omega, self.scale / domains if domains > 1 else 1.0, 0.001)
            omega.requires_grad_(True)
        self._count = sum(omega.numel() for omega in omegas.values())
        self._arrange(learner)

    def phases(self, experience: Any) -> Sequence[Phase]:
        alone = Phase("source", trainable=_is_no_omega)
        return [alone, Phase("transfer", self.transfer_epochs, _is_omega)]

    def before_epoch(self, learner: SupportsLearning) -> None:
        self._mixed = learner.progress.phase == "transfer"
        self._arrange(learner)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        each = [[float(s.omega.mean()) for s in _sources(layer)] for layer in self._layers(learner)]
        self._omegas = torch.tensor(each).mean(0).tolist() if self._mixed else []

    def numbers(self) -> dict[str, float]:
        each = {f"omega {domain}": value for domain, value in enumerate(self._omegas)}
        return {"omegas": float(self._count), **each} if each else {}

    def rebuild(self, learner: SupportsLearning) -> None:
        for layers in self.changes.again(learner.model):
            self._share(layers)
        self._arrange(learner)

    def _layers(self, learner: SupportsLearning) -> list[LowRankSum]:
        return [*self.changes.layers(learner.model).values()]

    def _share(self, layers: dict[str, LowRankSum]) -> None:
        """Give all layers of a tower and a width one omega, where that is asked for."""
        held: dict[Any, nn.Parameter] = {}
        for path, layer in layers.items() if self.shared else ():
            change = layer.newest()
            assert isinstance(change, ScaledSource)
            place = path.startswith("visual."), change.omega.shape
            change.omega = held.setdefault(place, change.omega)

    def _arrange(self, learner: SupportsLearning) -> None:
        """All changes count by their omegas, or the newest alone without."""
        model: Any = learner.model
        state = model.backbone.adapters
        assert isinstance(state, GrowthState)
        names = [f"domain{domain}" for domain in range(self.changes.domains)]
        state.use(names if self._mixed else names[-1:])
        for layer in self._layers(learner):
            for change in _sources(layer):
                change.mixed = self._mixed


def _sources(layer: LowRankSum) -> Iterator[ScaledSource]:
    """The changes of a layer, in the order of their domains."""
    for change in layer.changes.values():
        assert isinstance(change, ScaledSource)
        yield change


def _is_omega(name: str) -> bool:
    return name.endswith(".omega")


def _is_no_omega(name: str) -> bool:
    return not _is_omega(name)
