"""Strategies as plugins of Avalanche's own templates on Avalanche's own benchmarks, and its traps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, tensors_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.core import SupervisedPlugin
from avalanche.training import Naive as StockNaive
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from clplat.randomness import seeded
from clplat.testing.checks import difference, weights
from clplat.training.plugin import AvalancheLearner, StrategyPlugin
from clplat.training.strategy import Strategy
from strategies import AGEM, EWC, Cumulative, Distill, Frozen, Naive, Patch, Replay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def task(feature: int) -> tuple[Tensor, Tensor]:
    """Two classes that one feature tells apart."""
    draw = torch.Generator().manual_seed(feature)
    y = torch.randint(0, 2, (48,), generator=draw)
    x = torch.randn(48, 4, generator=draw)
    x[:, feature] += 4 * (y - 0.5)
    return x, y


def benchmark(kind: str) -> Any:
    tasks = [task(0), task(1)]
    if kind == "classic":  # with task labels, as SplitMNIST and its kin
        return tensors_benchmark(
            train_tensors=tasks, test_tensors=tasks, task_labels=[0, 0], complete_test_set_only=False
        )
    sets = []
    for x, y in tasks:
        data: Any = TensorDataset(x, y)
        data.targets = y.tolist()
        sets.append(as_classification_dataset(data))
    return benchmark_from_datasets(train=sets, test=sets)


def network() -> nn.Sequential:
    with seeded(0, "network"):
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def stock(model: nn.Module, *plugins: Any, **settings: Any) -> Any:
    return StockNaive(
        **{
            "model": model,
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
            "criterion": nn.CrossEntropyLoss(),
            "train_mb_size": 16,
            "plugins": list(plugins),
            "evaluator": EvaluationPlugin,
            "eval_every": -1,
            **settings,
        }
    )


def run(template: Any, stream: Any) -> None:
    with seeded(0, "shuffling"):  # the stock loader shuffles by the global generator
        template.train(stream, eval_streams=[])


STOCK_STRATEGIES = [
    Naive(),
    Frozen(),
    EWC(lam=5.0),
    Patch(),
    Replay(size=10, batch_size=8),
    AGEM(size=10, batch_size=8),
]


@pytest.mark.parametrize("kind", ["classic", "new"])
@pytest.mark.parametrize("index", range(len(STOCK_STRATEGIES)))
def test_it_runs_in_the_stock_naive_template(kind: str, index: int) -> None:
    strategy, model = type(STOCK_STRATEGIES[index])(**arguments(STOCK_STRATEGIES[index])), network()
    before, template = weights(model), stock(model, strategy.as_plugin())
    run(template, benchmark(kind).train_stream)
    assert bool(difference(before, weights(model))) != isinstance(strategy, Frozen)
    assert all(bool(value.isfinite().all()) for value in weights(model).values())
    if isinstance(strategy, Replay | AGEM):
        rows = [row for group in strategy.memory.state_dict()["groups"].values() for row in group]
        assert len(rows) == 10 and strategy.memory_bytes() >= 10 * (4 * 4 + 8)


def arguments(strategy: Strategy) -> dict[str, Any]:
    return {key: value for key, value in vars(strategy).items() if key in ("lam", "size", "batch_size")}


@pytest.mark.parametrize("kind", ["classic", "new"])
def test_cumulative_joins_avalanches_data_sets(kind: str) -> None:
    template = stock(network(), Cumulative().as_plugin())
    run(template, benchmark(kind).train_stream)
    assert template.clock.train_iterations == 3 + 6


def test_naive_changes_nothing_about_the_template() -> None:
    plain, wrapped = network(), network()
    run(stock(plain), benchmark("new").train_stream)
    run(stock(wrapped, Naive().as_plugin()), benchmark("new").train_stream)
    assert not difference(weights(plain), weights(wrapped))


def test_the_terms_are_added_to_the_templates_loss() -> None:
    class Constant(Strategy):
        def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
            return {"two": 2.0 * outputs.sum(), "three": torch.tensor(3.0)}

    seen = []

    class Spy(SupervisedPlugin):  # type: ignore[misc]
        def after_backward(self, template: Any, **_: Any) -> None:
            seen.append((template.loss.detach(), template.criterion().detach(), template.mb_output.detach()))

    plugin = Constant().as_plugin()
    run(stock(network(), plugin, Spy()), benchmark("new").train_stream[:1])
    assert len(seen) == 3 and set(plugin.terms) == {"two", "three"}
    for loss, criterion, outputs in seen:
        assert torch.allclose(loss, criterion + 2 * outputs.sum() + 3)


class Grow(Strategy):
    """Appends a layer."""

    def __init__(self) -> None:
        self.added: list[nn.Linear] = []

    def before_experience(self, learner: Any, experience: Any) -> None:
        self.added.append(nn.Linear(2, 2))
        learner.model.append(self.added[-1])


def test_weights_that_a_strategy_adds_are_trained_by_a_stock_optimizer() -> None:
    strategy, model = Grow(), network()
    template = stock(model, strategy.as_plugin())
    with seeded(0, "growth"):
        for experience in benchmark("new").train_stream:
            template.train(experience, eval_streams=[])
    with seeded(0, "growth"):
        first = nn.Linear(2, 2)
    assert len(strategy.added) == 2
    assert not torch.equal(strategy.added[0].weight, first.weight), "added too late for the optimizer"


def test_hooks_come_in_the_order_of_the_contract() -> None:
    calls: list[str] = []

    class Recorder(Strategy):
        pass

    for name in (
        "before_experience",
        "training_set",
        "before_epoch",
        "after_backward",
        "after_step",
        "after_experience",
        "loss",
    ):

        def hook(self: Strategy, *args: Any, name: str = name) -> Any:
            calls.append(name)
            return getattr(Strategy, name)(self, *args)

        setattr(Recorder, name, hook)
    run(stock(network(), Recorder().as_plugin(), train_mb_size=48), benchmark("new").train_stream)
    one = ["before_experience", "training_set", "before_epoch"]
    one += ["loss", "after_backward", "after_step", "after_experience"]
    assert calls == one + one


def test_looking_at_another_batch_leaves_the_loop_as_it_was() -> None:
    checks = []

    class Look(Strategy):
        def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
            template = learner.template
            x, y = batch[0][:3], batch[1][:3]
            other = learner.predict([x, y])
            loss = learner.task_loss([x, y], other)
            checks.append(
                template.mbatch is batch
                and template.mb_output is outputs
                and torch.equal(other, template.model(x))
                and torch.allclose(loss, nn.functional.cross_entropy(other, y))
                and learner.progress.step == template.clock.train_iterations
                and learner.optimizer is template.optimizer
            )
            with pytest.raises(RuntimeError):
                learner.predict([x[:, :2], y])
            checks.append(template.mbatch is batch)
            return {}

    run(stock(network(), Look().as_plugin()), benchmark("new").train_stream[:1])
    assert checks == [True] * 6


def test_distill_takes_pairs_from_any_template() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.towers = network()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return nn.functional.normalize(self.towers(x), dim=-1), nn.functional.normalize(x[:, :2], dim=-1)

    def criterion(pair: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(5 * pair[0] @ pair[1].T, torch.arange(len(y)))

    ends = []
    for strategy in (Naive(), Distill(weight=10.0)):
        model = Pair()
        template = stock(model, strategy.as_plugin(), criterion=criterion)
        run(template, benchmark("new").train_stream)
        ends.append(weights(model))
        assert strategy.state_dict().keys() == (
            {"teacher", "met", "units"} if isinstance(strategy, Distill) else set()
        )
    assert difference(*ends)


def test_two_streams_whose_experiences_have_equal_numbers_do_not_collide() -> None:
    """Avalanche's metrics are keyed by number alone; what a strategy keeps must not be."""
    made = benchmark("new")
    strategy = Replay(size=20, batch_size=4)
    template = stock(network(), strategy.as_plugin())
    for stream in (made.train_stream, made.test_stream):
        assert [experience.current_experience for experience in stream] == [0, 1]
        run(template, stream)
    shares = [len(group) for group in strategy.memory.state_dict()["groups"].values()]
    assert shares == [5, 5, 5, 5]


def test_a_plugin_wraps_its_strategy() -> None:
    strategy = EWC()
    plugin = strategy.as_plugin()
    assert isinstance(plugin, StrategyPlugin) and plugin.strategy is strategy and plugin.terms == {}
    template = stock(network())
    learner = AvalancheLearner(template)
    assert learner.model is template.model and learner.progress.step == 0
