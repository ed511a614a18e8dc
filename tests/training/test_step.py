"""The training step: batches in parts, precision, compiled blocks, and what is never read or done twice."""

from __future__ import annotations

import math
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import clplat
import strategies
from clplat.config.groups import TrainConfig
from clplat.data.batch import Batch
from clplat.data.records import Candidate
from clplat.errors import UserError
from clplat.models.outputs import Outputs
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers._base import Composer
from clplat.parts.composers.combiner import Combiner
from clplat.parts.composers.slerp import Slerp
from clplat.parts.composers.sum import Sum
from clplat.parts.losses._base import Loss
from clplat.parts.losses.info_nce import InfoNCE
from clplat.progress import Progress
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.runs.checkpoint import Weights, save_state
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_loss, tiny_retriever
from clplat.testing.checks import difference, weights
from clplat.testing.runs import everything, finish, tiny_stream, tiny_trainer
from clplat.training.accumulation import embed_in_parts
from clplat.training.trainer import NonFiniteLoss, Position, Trainer
from clplat.trees import load_tree
from strategies import AGEM, EWC, BackwardCompatible, Distill, LoRAPerDomain, Naive, Replay

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Gradients = dict[str, Tensor]


def gradients(model: nn.Module) -> Gradients:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(found: Gradients, wanted: Gradients) -> bool:
    """Up to the order of sums; the bias of a key has no gradient but rounding errors of 1e-8."""
    return found.keys() == wanted.keys() and all(
        torch.allclose(found[n], wanted[n], rtol=1e-5, atol=1e-5 * float(wanted[n].abs().max()) + 1e-7)
        for n in wanted
    )


def trainer_with(strategy: Any, model: ComposedRetriever, loss: Any, **more: Any) -> Trainer:
    """As `tiny_trainer`, with a loss and arguments of the trainer itself."""
    settings = {name: more.pop(name) for name in list(more) if name in TrainConfig.__annotations__}
    config = TrainConfig(**{"epochs": 2, "batch_size": 8, "lr": 3e-3, **settings})
    return Trainer(
        model=model, strategy=strategy, collate=tiny_collate(), loss=loss, config=config, seed=0, **more
    )


def rich_batch(count: int = 10) -> Batch:
    """Triplets with typed negatives of both scopes, a further positive, and weights."""
    triplets = list(tiny_domains()[0].train[:count])
    for i in range(0, count, 3):
        extras = (
            Candidate(triplets[i - 1].target, triplets[i - 1].label, "near_miss", "anchor"),
            Candidate(triplets[i - 2].reference, "another", "hard", "batch"),
            Candidate(triplets[i].reference, triplets[i].label, "positive", "batch"),
        )
        triplets[i] = replace(triplets[i], negatives=extras[: 1 + i // 3], weight=0.25 * (1 + i))
    return tiny_collate()(triplets)


# -- a batch in parts --------------------------------------------------------------------------------------


class Concatenated(ComposedRetriever):
    """What parts must equal: one graph of the plain forward passes of all parts, in order."""

    size = 3

    def forward(self, batch: Batch) -> Outputs:
        parts = [range(i, min(i + self.size, len(batch))) for i in range(0, len(batch), self.size)]
        made = [super(Concatenated, self).forward(batch.part(rows)) for rows in parts]
        columns = torch.tensor([column for rows in parts for column in batch.candidates_of(rows)])
        candidates = torch.cat([out.candidates for out in made])[columns.argsort()]
        return Outputs(torch.cat([out.query for out in made]), candidates, made[0].scale)


def retriever(kind: type[ComposedRetriever], composer: Composer) -> ComposedRetriever:
    backbone = tiny_backbone()
    with seeded(0, "test"):
        LoRA(lora_dropout=0.3).attach(backbone)
        made = kind(backbone, composer)
    made.backbone.logit_scale.requires_grad_(True)
    return made


COMPOSERS: dict[str, Callable[[], Composer]] = {
    "combiner": lambda: Combiner(8, 16, dropout=0.5, start="random"),
    "sum": Sum,
    "slerp": Slerp,
}
STRATEGIES: dict[str, Callable[[], Any]] = {
    "naive": Naive,
    "replay": lambda: Replay(size=12, batch_size=7),
    "agem": lambda: AGEM(size=12, batch_size=7),
    "distill": Distill,
    "ewc": EWC,
    "compatible": BackwardCompatible,
}


@pytest.mark.parametrize(
    ("strategy", "composer"),
    [(name, "combiner") for name in STRATEGIES] + [("naive", "sum"), ("distill", "slerp"), ("replay", "sum")],
)
def test_parts_have_the_gradient_of_their_whole_batch(strategy: str, composer: str) -> None:
    """Dropout on, in two experiences, with every strategy's terms, and the gradient of the scale."""
    runs: list[list[Gradients]] = []
    for kind, size in ((Concatenated, None), (ComposedRetriever, 3)):
        seen: list[Gradients] = []
        trainer = tiny_trainer(
            STRATEGIES[strategy](),
            retriever(kind, COMPOSERS[composer]()),
            lambda t, seen=seen: seen.append(gradients(t.model)),  # type: ignore[misc]
            epochs=1,
            optimizer="sgd",
            lr=1e-3,
            clip=None,
            batch_size=12,
            micro_batch=size,
        )
        trainer.flops_per_step = {0: 0, 1: 0}  # to count them takes longer than a step
        finish(trainer, cuts=())
        runs.append(seen)
    wanted, found = runs
    assert len(found) == len(wanted) == 4
    assert all(close(one, other) for one, other in zip(found, wanted, strict=True))
    assert all(float(one["backbone.model.logit_scale"].abs()) > 0 for one in found)


@pytest.mark.parametrize("size", [1, 3, 4, 9, 10, 64])
def test_parts_of_any_size_equal_one_pass(size: int) -> None:
    """Without dropout, with extra candidates, masks and weights."""
    batch, found = rich_batch(), []
    assert len(batch.labels) > len(batch)
    for embed in (lambda m: m(batch), lambda m: embed_in_parts(m, batch, size)):
        model = tiny_retriever(Full(last=1), Combiner(8, 16, dropout=0.0, start="random"))
        model.backbone.logit_scale.requires_grad_(True)
        outputs = embed(model)
        loss = tiny_loss(batch, outputs)
        loss.backward()
        found.append((outputs, loss, gradients(model)))
    (whole, loss, wanted), (parts, other, got) = found
    assert torch.allclose(parts.query, whole.query, atol=1e-6)
    assert torch.allclose(parts.candidates, whole.candidates, atol=1e-6)
    assert torch.allclose(loss, other, rtol=1e-5)
    assert close(got, wanted)


class Living(TorchDispatchMode):
    """The most bytes that tensors made under this mode held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        self._known.discard(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = storage.data_ptr()
            if storage.nbytes() and key not in self._known:
                self._known.add(key)
                weakref.finalize(storage, self._gone, key, storage.nbytes())
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
        return out


def test_parts_need_the_memory_of_one_part() -> None:
    batch, peaks = tiny_collate()(list(tiny_domains()[0].train)).loaded(), []
    for size in (24, 3):
        model = tiny_retriever(LoRA())
        with Living() as living:
            tiny_loss(batch, embed_in_parts(model, batch, size)).backward()
        peaks.append(living.peak)
    assert peaks[1] < 0.5 * peaks[0], peaks


def test_a_model_that_looks_at_the_whole_batch_is_refused() -> None:
    class Normed(Sum):
        def build(self, embed_dim: int) -> None:
            self.norm = nn.BatchNorm1d(embed_dim)

        def forward(self, image: Any, text: Any) -> Tensor:
            out: Tensor = self.norm(image.pooled + text.pooled)
            return out

    trainer = tiny_trainer(Naive(), tiny_retriever(composer=Normed()), micro_batch=4)
    with pytest.raises(UserError, match=r"micro_batch cannot split .* 'composer.norm'"):
        trainer.train(tiny_stream(), eval_streams=[])
    finish(tiny_trainer(Naive(), tiny_retriever(composer=Normed())))


# -- precision and compilation -----------------------------------------------------------------------------


def cpu_has(monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: able)


def test_bf16_is_refused_where_it_would_be_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_has(monkeypatch, False)
    with pytest.raises(UserError, match="precision 'bf16' is slow on device 'cpu'") as caught:
        tiny_trainer(Naive(), tiny_retriever(), precision="bf16")
    assert "\n" not in str(caught.value)


def test_the_towers_compute_in_bf16_and_everything_else_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_has(monkeypatch, True)
    seen: set[tuple[torch.dtype, ...]] = set()
    ends = {}
    for precision in ("fp32", "bf16"):
        trainer = tiny_trainer(Naive(), tiny_retriever(Full(last=1), Sum()), precision=precision)
        block = trainer.model.backbone.model.visual.transformer.resblocks[0].mlp[0]
        block.register_forward_hook(lambda _, __, out, p=precision: seen.add((p, out.dtype)))
        ends[precision] = finish(trainer).trainer
    assert seen == {("fp32", torch.float32), ("bf16", torch.bfloat16)}
    low, full = ends["bf16"], ends["fp32"]
    assert all(value.dtype == torch.float32 for value in weights(low.model).values())
    outputs = low.model(tiny_collate()(tiny_domains()[0].train[:4]))
    assert outputs.query.dtype == outputs.candidates.dtype == torch.float32
    pairs = list(zip(low.losses, full.losses, strict=True))
    assert all(abs(a["loss"] - b["loss"]) < 0.05 * max(1, b["loss"]) for a, b in pairs)
    assert low.losses != full.losses


@pytest.mark.parametrize(
    ("name", "value"), [("micro_batch", 0), ("micro_batch", -2), ("precision", "fp16"), ("precision", "")]
)
def test_wrong_options_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        TrainConfig(**{name: value})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "adapter"), [(Replay, Full), (Distill, LoRA), (LoRAPerDomain, None)], ids=str
)
def test_compiled_blocks_compute_the_same(strategy: Any, adapter: Any) -> None:
    ends = []
    for compiled in (False, True):
        model = tiny_retriever(adapter() if adapter else None)
        settings = {"optimizer": "sgd", "lr": 0.05, "compile": compiled, "micro_batch": 4}
        ends.append(finish(tiny_trainer(strategy(), model, **settings)).trainer)
    plain, compiled = ends
    assert plain.flops == compiled.flops
    for a, b in zip(plain.losses, compiled.losses, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    wanted, found = (weights(t.model) for t in ends)
    assert all(torch.allclose(found[name], wanted[name], rtol=1e-3, atol=1e-5) for name in wanted)


# -- what is not done --------------------------------------------------------------------------------------


#: The folders of our code; what a folder above them is called must not matter.
OURS = [Path(str(package.__file__)).parent for package in (clplat, strategies)]


class Readings:
    """Counts, by place in our code, what would make Python wait for a GPU."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()
        readings = self

        class Operators(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal"):
                    readings.note()
                return func(*args, **(kwargs or {}))

        class Methods(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if getattr(func, "__name__", "") in ("tolist", "numpy"):
                    readings.note()
                return func(*args, **(kwargs or {}))

        self.modes = (Operators(), Methods())

    def note(self) -> None:
        for frame in reversed(traceback.extract_stack()):
            folder = next((folder for folder in OURS if folder in Path(frame.filename).parents), None)
            if folder is not None and frame.name != "__torch_dispatch__":
                place = Path(frame.filename).relative_to(folder).as_posix()
                self.places[f"{place}:{frame.name}"] += 1
                return


#: Numbers that live on the CPU on every device: token ids, the order of batches, the draws of a memory.
ON_THE_CPU = ("data/", "mechanisms/memory/", "parts/samplers/", "training/batches.py")
#: Without a `FeatureSource`, which knows how long texts are, the text tower looks for the longest one.
TOWER = "models/backbone.py:text"


class PlainLoss(Loss):
    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        return F.cross_entropy(outputs.scores(scale=outputs.scale), torch.arange(len(batch)))


@pytest.mark.parametrize("make", [Naive, lambda: Replay(12, 4), Distill], ids=["naive", "replay", "distill"])
@pytest.mark.parametrize("micro_batch", [None, 4])
def test_between_two_checks_nothing_is_read(make: Callable[[], Any], micro_batch: int | None) -> None:
    settings = {"optimizer": "sgd", "check_every": 32, "micro_batch": micro_batch}
    trainer = trainer_with(make(), tiny_retriever(LoRA(last=1)), PlainLoss(), **settings)
    readings = Readings()
    with readings.modes[0], readings.modes[1]:
        trainer.train(tiny_stream(), eval_streams=[])
    steps = {place: n for place, n in readings.places.items() if not place.startswith((*ON_THE_CPU, TOWER))}
    # Torch's loader draws a seed for its workers when an epoch begins.
    epochs = steps.pop("training/trainer.py:training_epoch")
    assert epochs == 4 and steps == {"training/loss_log.py:_numbers": 2}, "one reading an experience"


def explode_at(trainer: Trainer, step: int) -> None:
    class Broken(InfoNCE):
        def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
            return super().forward(outputs, batch, progress) * (math.nan if trainer.step == step else 1)

    trainer.task = Broken()


@pytest.mark.parametrize(("every", "told_after"), [(1, 3), (4, 3), (5, 4), (32, 5)])
def test_a_late_check_names_the_first_bad_step(every: int, told_after: int) -> None:
    """After a bad step all later ones are bad; an experience never ends unchecked."""
    steps: list[int] = []
    trainer = trainer_with(
        Naive(), tiny_retriever(), InfoNCE(), check_every=every, on_step=lambda t: steps.append(t.step)
    )
    explode_at(trainer, 3)
    with pytest.raises(
        NonFiniteLoss, match=r"the loss is not finite \(task nan, loss nan\) at step 3"
    ) as caught:
        trainer.train(tiny_stream(), eval_streams=[])
    assert (caught.value.step, caught.value.position) == (3, Position(0, 1, 0))
    assert len(caught.value.ids) == 8 and trainer.step == max(told_after, len(steps))
    assert len(trainer.losses) == 3 and all(math.isfinite(terms["loss"]) for terms in trainer.losses)


def test_no_checkpoint_holds_an_unchecked_step(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def save(trainer: Any) -> None:
        if trainer.step in (3, 5):
            save_state(path, trainer, Weights(trainer.model), {})

    trainer = trainer_with(Naive(), tiny_retriever(), InfoNCE(), check_every=32, on_step=save)
    explode_at(trainer, 3)
    with pytest.raises(NonFiniteLoss, match="step 3"):
        trainer.train(tiny_stream(), eval_streams=[])
    assert trainer.step == 5 and load_tree(path)["step"] == 3


def test_how_often_is_looked_changes_no_bit() -> None:
    ends = [trainer_with(EWC(), tiny_retriever(), InfoNCE(), check_every=every) for every in (1, 5)]
    for trainer in ends:
        finish(trainer)
    assert ends[0].losses == ends[1].losses
    assert not difference(everything(ends[0]), everything(ends[1]))


def test_records_are_read_once_an_experience() -> None:
    class Counted:
        def __init__(self, records: Sequence[Any]) -> None:
            self.records, self.reads = records, 0

        def __len__(self) -> int:
            return len(self.records)

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return self.records[index]

    made: list[Counted] = []

    class Watched(Naive):
        def training_set(self, experience: Any) -> Any:
            made.append(Counted(experience.domain.train))
            return made[-1]

    finish(tiny_trainer(Watched(), tiny_retriever()))
    assert [data.reads for data in made] == [24, 24], "two epochs each"


def test_a_step_never_walks_over_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bookkeeping that looks at every frozen tensor costs more than a small step."""
    walks: list[int] = []
    trainer = tiny_trainer(Naive(), tiny_retriever(), lambda t: walks.append(t.model.walks))

    class Watched(type(trainer.model)):  # type: ignore[misc]
        walks = 0

        def named_modules(self, *args: Any, **more: Any) -> Any:
            type(self).walks += 1
            return super().named_modules(*args, **more)

    trainer.model.__class__ = Watched
    trainer.train(tiny_stream()[0], eval_streams=[])
    # The first step of an experience looks for tensors without a gradient; an epoch begins with step 3.
    assert walks[0] == walks[1] == walks[2] < walks[3] == walks[4] == walks[5]


def test_a_plugin_may_change_the_data_of_an_experience() -> None:
    from avalanche.core import SupervisedPlugin

    class Half(SupervisedPlugin):  # type: ignore[misc]
        def before_training_exp(self, template: Any, **_: Any) -> None:
            template.adapted_dataset = list(template.experience.domain.train[:8])

    trainer = tiny_trainer(Naive(), tiny_retriever())
    trainer.plugins.append(Half())
    trainer.train(tiny_stream()[0], eval_streams=[])
    assert trainer.step == 2
