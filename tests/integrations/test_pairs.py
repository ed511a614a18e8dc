"""Every registered strategy in the loops of open_clip and sentence-transformers, with batches of theirs."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from clplat import registry
from clplat.errors import UserError
from clplat.models.outputs import Outputs
from clplat.parts import info_nce
from clplat.testing import tiny_backbone
from clplat.testing.by_hand import Calls, by_hand, sgd
from clplat.testing.references import TinyReference
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy

STRATEGIES = registry.names("strategies")
WORDS = ("red", "green", "blue", "small", "large", "bag", "shoe", "hat")


def need(library: str) -> Any:
    return pytest.importorskip(library, reason=f"{library} comes with the extra [test-integrations]")


def contrast(batch: Any, outputs: Outputs) -> Tensor:
    logits = outputs.scores(scale=outputs.scale)
    return (info_nce(logits) + info_nce(logits.T)) / 2


def one_sided(batch: Any, outputs: Outputs) -> Tensor:
    return info_nce(outputs.scores(scale=outputs.scale))


class Pairs:
    """A CLIP of open_clip and pairs of pictures and texts."""

    def __init__(self) -> None:
        self.model = tiny_backbone().model.requires_grad_(True).train()
        self.model.output_dict = True
        self.model.token_embedding.requires_grad_(False)  # 49,408 words
        self.learner = Learner(self.model, None, self.see, contrast, reference=TinyReference())
        draw = torch.Generator().manual_seed(0)
        texts = torch.randint(1, 300, (2, 16, 12), generator=draw)
        pictures = torch.randn(2, 16, 3, 16, 16, generator=draw)
        self.stream = [[*zip(*both, strict=True)] for both in zip(pictures, texts, strict=True)]

    def see(self, batch: Any) -> Outputs:
        made = self.model(*batch)
        return Outputs(made["text_features"], made["image_features"], made["logit_scale"])


def in_open_clip(strategy: Strategy, world: Pairs, parts: int = 1, scaler: Any = None) -> None:
    from open_clip import ClipLoss

    from clplat.integrations.open_clip import train_one_epoch

    args = SimpleNamespace(
        device="cpu", precision="fp32", distill=False, accum_freq=parts, skip_scheduler=True, horovod=False,
        grad_clip_norm=1e3, rank=0, local_rank=0, world_size=1, batch_size=8 // parts, log_every_n_steps=100,
        wandb=False,
    )  # fmt: skip
    for number, dataset in enumerate(world.stream):
        torch.manual_seed(number)
        with strategy.experience(world.learner, dataset) as experience:
            loader: Any = DataLoader(experience.dataset, 8 // parts, shuffle=True)
            loader.num_batches, loader.num_samples = len(loader), len(experience.dataset)
            data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
            optimizer = sgd(world.model)
            train_one_epoch(
                experience, world.model, data, ClipLoss(), 0, optimizer, scaler, None, None, args
            )  # fmt: skip


class Sentences:
    """A sentence transformer of one small layer, and pairs of texts."""

    def __init__(self, folder: Path) -> None:
        datasets = pytest.importorskip("datasets", reason="the extra [test-integrations] brings it")
        library = pytest.importorskip(
            "sentence_transformers", reason="the extra [test-integrations] brings it"
        )
        self.model = library.SentenceTransformer(str(folder), device="cpu")
        self.learner = Learner(self.model, None, self.see, one_sided, reference=TinyReference())
        texts = [f"{a} {b} {c}" for a in WORDS[:2] for b in WORDS[3:5] for c in WORDS[5:]]
        rows = [(texts[i % 12], texts[(i + 1) % 12]) for i in range(16)]
        columns = [[*column] for column in zip(*rows, strict=True)]
        self.stream = [
            datasets.Dataset.from_dict({"query": q, "target": t}) for q, t in (columns, columns[::-1])
        ]

    def see(self, batch: Any) -> Outputs:
        sides = []
        for side in ("query_", "target_"):
            features = {name[len(side) :]: value for name, value in batch.items() if name.startswith(side)}
            sides.append(normalize(self.model(features)["sentence_embedding"], dim=-1))
        return Outputs(*sides, torch.tensor(20.0))


@pytest.fixture(scope="module")
def sentence_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a random model and its tokenizer of words."""
    transformers = need("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("model")
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(("[PAD]", "[UNK]", *WORDS))}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    made.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def in_sentence_transformers(strategy: Strategy, world: Sentences, parts: int = 1) -> None:
    import sentence_transformers as library
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from clplat.integrations.sentence_transformers import StrategyTrainer

    args = library.SentenceTransformerTrainingArguments(
        "unused", num_train_epochs=1, per_device_train_batch_size=8 // parts, learning_rate=1e-3, optim="sgd",
        gradient_accumulation_steps=parts, lr_scheduler_type="constant", max_grad_norm=1e3, report_to="none",
        save_strategy="no", use_cpu=True, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    for number, dataset in enumerate(world.stream):
        torch.manual_seed(number)
        with strategy.experience(world.learner, dataset) as experience:
            loss = MultipleNegativesRankingLoss(world.model)
            StrategyTrainer(world.model, args, experience=experience, loss=loss).train()


#: What reaches into a retriever of clplat's, or into its batches, says so in one line.
OURS_ALONE = re.compile(
    r"(needs (a (ComposedRetriever|model with encode_items|loss_fn)|clplat's batches|batches)|"
    r"tensors a rate of their own: clplat's trainer|phases, which needs)[^\n]*$"
)


def trains_or_says_why_not(run: Any, name: str, world: Any, other: Any) -> None:
    try:
        compare(run, name, world, other)
    except (UserError, TypeError) as error:
        assert OURS_ALONE.search(str(error)), error


def compare(run: Any, name: str, world: Any, other: Any, parts: int = 1) -> None:
    calls, plain = Calls(), Calls()
    run(calls.watch(registry.load("strategies", name)()), world, parts)
    other.learner.collate_fn = world.learner.collate_fn
    strategy = plain.watch(registry.load("strategies", name)())
    by_hand(strategy, other.learner, other.stream, calls.batches, parts)
    if strategy.trains:
        assert calls.order == plain.order
        assert calls.norms == pytest.approx(plain.norms, rel=1e-4)
    for key, value in other.model.state_dict().items():
        torch.testing.assert_close(world.model.state_dict()[key], value, rtol=1e-4, atol=1e-6, msg=key)


def each_in(half: int) -> list[Any]:
    """Each strategy is quick in one of the two loops, which its name decides; slow: in both."""
    slow = [[] if zlib.crc32(name.encode()) % 2 == half else [pytest.mark.slow] for name in STRATEGIES]
    return [pytest.param(name, marks=marks) for name, marks in zip(STRATEGIES, slow, strict=True)]


@pytest.mark.parametrize("name", each_in(0))
def test_a_strategy_in_open_clips_loop(name: str) -> None:
    trains_or_says_why_not(in_open_clip, name, Pairs(), Pairs())


@pytest.mark.parametrize("name", each_in(1))
def test_a_strategy_in_sentence_transformers(name: str, sentence_model: Path) -> None:
    worlds = Sentences(sentence_model), Sentences(sentence_model)
    trains_or_says_why_not(in_sentence_transformers, name, *worlds)


@pytest.mark.parametrize("name", ["distill", "ewc", "l2_anchor"])
def test_open_clip_sees_all_pairs_of_a_step(name: str) -> None:
    world, other = Pairs(), Pairs()
    for one in (world, other):  # open_clip adds its gradient up, once for each part
        one.model.logit_scale.register_hook(torch.zeros_like)
    compare(in_open_clip, name, world, other, parts=2)


@pytest.mark.parametrize("scale", [2.0, 6.0])
@pytest.mark.parametrize("name", ["distill", "dual_teacher", "backward_compatible"])
def test_a_frozen_scale_that_open_clip_clamps(name: str, scale: float) -> None:
    world = Pairs()
    world.model.logit_scale.requires_grad_(False).fill_(scale)  # a step leaves at most ln(100)
    in_open_clip(registry.load("strategies", name)(), world)
    assert float(world.model.logit_scale) == pytest.approx(min(scale, math.log(100)))


@pytest.mark.parametrize("name", ["ewc", "distill"])
def test_sentence_transformers_accumulates(name: str, sentence_model: Path) -> None:
    compare(in_sentence_transformers, name, Sentences(sentence_model), Sentences(sentence_model), parts=2)
