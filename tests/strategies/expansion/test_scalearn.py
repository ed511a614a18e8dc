"""ScaLearn: the sum by hand, what each phase trains, how omegas begin, and that sources stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.mechanisms.low_rank import low_rank_layers
from clplat.parts.adapters._growing import Growing
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator
from clplat.testing import tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import ScaLearn

SMALL = Growing(r=2, alpha=4.0, targets=["c_proj"], towers="image")


def test_sources_stay_scales_move_and_the_sum_is_as_by_hand() -> None:
    strategy, model = ScaLearn(lora=SMALL), tiny_retriever(None, Sum())
    trainer, stream = tiny_trainer(strategy, model), tiny_stream()
    trainer.train(stream[0], eval_streams=[])
    assert strategy.numbers()["omega 0"] == pytest.approx(1.0, abs=0.1), "one alone is not doubled"
    layers: Any = low_rank_layers(model.backbone)
    first = {path: layer.newest().up.detach().clone() for path, layer in layers.items()}
    trainer.train(stream[1], eval_streams=[])
    x = torch.randn(3, 128, generator=generator(0, "x"))
    for path, layer in layers.items():
        one, two = layer.changes.values()
        assert torch.equal(one.up, first[path]), "the source of the first domain is frozen"
        by_hand = layer.base_layer(x)
        for change in (one, two):
            assert bool((change.omega != change.omega[0]).any()), "a vector, one number for each output"
            by_hand = by_hand + change.omega[:, 0] * (2.0 * x @ change.down.T @ change.up.T)
        torch.testing.assert_close(layer(x), by_hand)
    said = strategy.numbers()
    assert said["omegas"] == 2 * 2 * 32 and set(said) == {"omegas", "omega 0", "omega 1"}
    assert all(0.9 < said[f"omega {i}"] < 1.1 for i in (0, 1)), "2 / n at first, no softmax"


def test_a_phase_trains_the_source_or_the_scales_and_nothing_else() -> None:
    source, transfer = ScaLearn().phases(None)
    names = ["backbone.a.changes.domain1.up", "backbone.a.changes.domain0.omega", "composer.gate"]
    assert [source.trainable(name) for name in names] == [True, False, True]
    assert [transfer.trainable(name) for name in names] == [False, True, False]


def test_one_scale_for_all_layers_of_a_tower() -> None:
    strategy, model = ScaLearn(omega="scalar", shared=True, lora=SMALL), tiny_retriever(None, Sum())
    strategy.changes.grow(model)
    layers: Any = low_rank_layers(model.backbone)
    strategy._share(layers)
    assert len({id(layer.newest().omega) for layer in layers.values()}) == 1
    assert len([name for name, _ in model.named_parameters() if name.endswith("omega")]) == 1
    with pytest.raises(ValueError, match="omega is 'matrix'"):
        ScaLearn(omega="matrix")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="transfer_epochs"):
        ScaLearn(transfer_epochs=0)
