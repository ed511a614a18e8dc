"""Stacked: the whole contract with bottlenecks; other adapters are in test_growth_of_parts.py."""

from __future__ import annotations

from clplat.parts.adapters.bottleneck import Bottleneck
from clplat.parts.adapters.peft import LoRAPlus
from clplat.testing import StrategyContract
from strategies import Stacked


class TestStacked(StrategyContract):
    """With adapters of our own, one behind the other."""

    def make(self) -> Stacked:
        return Stacked(Bottleneck(size=4))


def test_rates_of_the_adapter_are_those_of_its_stack() -> None:
    names = ["model.c_fc.lora_A.domain1.weight", "model.c_fc.lora_B.domain1.weight"]
    (group,) = Stacked(LoRAPlus(b_rate=8.0)).groups(names)
    assert [*group.names] == names[1:] and group.lr_factor == 8.0
    assert not Stacked().groups(names)
