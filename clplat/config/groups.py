"""Options that belong to no part: how pictures are prepared, how a model is trained and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from clplat.config.space import Choice, Float, Int


@dataclass(frozen=True)
class TrainConfig:
    """How each experience is trained.

    Args:
        epochs: passes over the data of an experience.
        batch_size: triplets per step; also the number of in-batch candidates.
        lr: learning rate of the backbone's trainable weights (adapters, prompts).
        head_lr: learning rate of everything else (composer, head); ``lr`` unless given.
        weight_decay: of AdamW.
        optimizer: its name.
        schedule: of the learning rate within an experience.
        warmup: share of an experience's steps with a rising learning rate.
        clip: largest norm of the gradient; none unless given.
        reset_optimizer: begin each experience with a fresh optimizer state.
        workers: processes that prepare batches; 0 does it in the main process.
        micro_batch: triplets per forward pass, to fit a larger batch into memory: the loss still sees the
            embeddings of the whole batch, for one more forward pass per step. All at once unless given.
        precision: what the towers compute in; ``bf16`` where the GPU or CPU has units for it. Weights,
            embeddings and losses stay in fp32.
        compile: let torch compile the blocks of the towers, which takes up to minutes before the first steps
            and pays in long runs on a GPU.
    """

    epochs: Annotated[int, Int(1, 20, log=True)] = 4
    batch_size: Annotated[int, Choice(32, 64, 128)] = 64
    lr: Annotated[float, Float(1e-5, 1e-2, log=True)] = 1e-3
    head_lr: float | None = None
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1
    clip: float | None = 1.0
    reset_optimizer: bool = True
    workers: int = 0
    micro_batch: int | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False

    def __post_init__(self) -> None:
        allowed = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2 (the negatives are in the batch)"),
            "lr": (self.lr > 0, "above 0"),
            "head_lr": (self.head_lr is None or self.head_lr > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "warmup": (0 <= self.warmup <= 1, "between 0 and 1"),
            "clip": (self.clip is None or self.clip > 0, "above 0, or null"),
            "workers": (0 <= self.workers <= 256, "0 to 256"),
            "micro_batch": (self.micro_batch is None or self.micro_batch >= 1, "at least 1, or null"),
            "precision": (self.precision in ("fp32", "bf16"), "fp32 or bf16"),
        }
        for name, (fits, words) in allowed.items():
            if not fits:
                raise ValueError(f"{name} must be {words}, not {getattr(self, name)}")


@dataclass(frozen=True)
class EvaluationConfig:
    """How every model version is measured.

    Args:
        split: the queries and galleries that fill R: ``test``, or ``val`` while tuning.
        batch_size: pictures or queries per forward pass.
        anchors: training pictures, at most, on which a projection between two versions is fitted.
    """

    split: Literal["test", "val"] = "test"
    batch_size: int = 256
    anchors: int = 1024

    def __post_init__(self) -> None:
        for name, value in (("batch_size", self.batch_size), ("anchors", self.anchors)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


@dataclass(frozen=True)
class DataConfig:
    """How pictures and texts are prepared, whatever the scenario.

    Args:
        preprocess: picture preparation; ``targetpad`` pads long pictures first (CLIP4Cir).
        long_texts: texts longer than the tokenizer's context are refused, or cut and reported.
        augment: random views of training pictures.
        views: number of random views of each picture, computed once where frozen; 0 draws anew every time.
        draft: decode JPEGs no larger than this many times the model's input, 2 say: twice as fast and more
            for large ones, to nearly the same pixels; 0 decodes them whole.
    """

    preprocess: Literal["clip", "targetpad"] = "clip"
    long_texts: Literal["refuse", "cut"] = "refuse"
    augment: Literal["none", "flip", "crop", "crop_flip"] = "none"
    views: int = 0
    draft: int = 0

    def __post_init__(self) -> None:
        for name, value in (("views", self.views), ("draft", self.draft)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}")


#: Name of the group -> its constructor.
GROUPS: dict[str, Callable[..., Any]] = {
    "train": TrainConfig,
    "data": DataConfig,
    "evaluation": EvaluationConfig,
}
