"""LST: a ladder of small blocks beside a frozen tower, with a rung from each of its layers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor, nn

from clplat.config.space import Choice, Float, Int
from clplat.mechanisms.side_networks import Recurrence, Residual, chosen_layers
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others, states_of

__all__ = ["Ladder"]


class Ladder(Adapter):
    """Ladder side tuning: ``pooled + U h``, h from a small network that climbs along a frozen tower.

    Of each layer l the state x_l that the tower pools from goes in, ``z_l = D_l x_l``; h begins as z of the
    first layer that is read, and at each one ``h <- B_l(g_l h + (1 - g_l) z_l)``, see
    `clplat.mechanisms.side_networks.Recurrence`. U is zero at first, so that attaching changes nothing. It is
    a readout: states are computed once and kept, and a training step runs no tower.

    Args:
        rank: width of the ladder.
        every: read each so-many-th layer, the last among them.
        last: read this many last layers only.
        order: up from the first layer, or down from the last.
        gate: g: learned for each layer, a confidence of each input, or the sum in place of a mixture.
        temperature: of g.
        shared: one block for all layers.
        towers: read out one tower or both.

    Raises:
        ValueError: a size below 1, a temperature of 0 or below, another word.

    What is trained: about ``layers * rank * (width + 8 * rank)`` weights a tower. Needs: CLIP transformers.

    Reference:
        Sung et al., "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning", NeurIPS
        2022, arXiv:2206.06522.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> Ladder(rank=4, towers="image").attach(tiny_backbone())[0]
        'readouts.default.image.down.0.weight'
    """

    mergeable = False

    def __init__(
        self,
        rank: Annotated[int, Int(4, 256, log=True)] = 32,
        every: Annotated[int, Int(1, 4)] = 1,
        last: int | None = None,
        order: Annotated[Literal["up", "down"], Choice("up", "down")] = "up",
        gate: Literal["learned", "confidence", "sum"] = "learned",
        temperature: Annotated[float, Float(0.05, 1.0, log=True)] = 0.1,
        shared: bool = False,
        towers: Literal["both", "image", "text"] = "both",
    ) -> None:
        if min(rank, every, 1 if last is None else last) < 1 or not 0 < temperature < float("inf"):
            raise ValueError(
                f"rank, every and last must be at least 1 and temperature above 0, "
                f"not {rank}, {every}, {last} and {temperature}"
            )
        for name, word, allowed in (
            ("order", order, ("up", "down")),
            ("gate", gate, ("learned", "confidence", "sum")),
            ("towers", towers, ("both", "image", "text")),
        ):
            if word not in allowed:
                raise ValueError(f"{name} is '{word}'; allowed: {', '.join(allowed)}")
        self.rank, self.every, self.last, self.order = rank, every, last, order
        self.gate, self.temperature, self.shared, self.towers = gate, temperature, shared, towers

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the ladders under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """
        refuse_others(backbone, "ladder", name)
        readouts: dict[Any, Readout] = {
            tower: _Ladder(self, layers, width, backbone.embed_dim)
            for tower, (layers, width) in states_of(backbone, self.towers).items()
        }
        return install(backbone, "ladder", name, readouts, dict(vars(self)))


class _Ladder(Readout):
    """The ladder of one tower: layers of its states, their width, and that of the pooled feature."""

    wants = frozenset({"pooled", "states"})

    def __init__(self, options: Ladder, layers: int, wide: int, joint: int) -> None:
        super().__init__()
        rank = options.rank
        self.layers = chosen_layers(layers, options.every, options.last)
        if options.order == "down":
            self.layers.reverse()
        self.down = nn.ModuleList(nn.Linear(wide, rank, bias=False) for _ in self.layers)
        self.steps = Recurrence(
            len(self.layers),
            rank,
            lambda: Residual(rank),
            options.gate,
            options.temperature,
            options.shared,
        )
        self.up = nn.Linear(rank, joint, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The tower's own pooled feature (B, D), and what the ladder adds to it."""
        states: Any = found.states
        steps = [down(states[:, layer]) for down, layer in zip(self.down, self.layers, strict=True)]
        out: Tensor = found.pooled + self.up(self.steps(steps))
        return out
