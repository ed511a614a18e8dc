"""Pretrain a small CLIP on captioned pictures and write a folder that open_clip itself loads.

`clplat-tiny`, the shipped model, was made by this script with its defaults: ``clplat pretrain --out FOLDER``.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clplat.config.reading import read_yaml
from clplat.data.decoding import open_picture
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Picture
from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.outputs import cosines
from clplat.parts.losses.info_nce import info_nce
from clplat.randomness import generator, seeded

from ..domain_folders import DomainFolders
from .captions import Captions
from .probes import pretraining_pairs
from .views import Views, random_views

__all__ = ["TINY", "captioned_pictures", "pretrain"]

#: About a million parameters beside the vocabulary; small enough to train on two cores in minutes.
TINY: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 48, "patch_size": 12, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 48, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 4},
}


Precision = Literal["float32", "bfloat16"]
#: On a CPU the plain form is a fifth faster than the fused one in 16 bits, and slower in 32.
_ATTENTION = {
    "float32": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "bfloat16": [SDPBackend.MATH],
}


def captioned_pictures(source: str, pairs: int, seed: int) -> list[Picture]:
    """Pictures with captions from a source.

    Args:
        source: ``"catalogue"`` (``pairs`` general product pictures); a ``.jsonl``, ``.csv`` or ``.tsv`` file
            with columns ``picture`` (path, relative to the file) and ``caption``; or a folder
            ``<root>/<domain>/<class>/*.jpg``, captioned from its folder names (``<root>/<domain>`` reads that
            domain alone).
        pairs: pictures at most.
        seed: of the catalogue.

    Raises:
        UserError: an unknown source, a missing column, no pairs.
    """
    if source == "catalogue":
        return pretraining_pairs(pairs, seed)
    path = Path(source)
    if path.is_dir():
        nested = any(
            child.is_dir() for folder in path.iterdir() if folder.is_dir() for child in folder.iterdir()
        )
        root, domains = (path, None) if nested else (path.parent, [path.name])
        pictures = DomainFolders(str(root)).captioned("train", domains)
    elif path.suffix in (".jsonl", ".csv", ".tsv"):
        pictures = [
            Picture(str(path.parent / file), partial(open_picture, path.parent / file), caption)
            for file, caption in _listed(path)
        ]
    else:
        raise UserError(
            f"unknown source '{source}' (allowed: catalogue, a folder, a .jsonl, .csv or .tsv file)"
        )
    if not pictures:
        raise UserError(f"{source} holds no captioned pictures")
    listed: dict[str, list[Picture]] = {}
    for picture in pictures:
        listed.setdefault(picture.key, []).append(picture)
    several = list(listed.values())
    order = torch.randperm(len(several), generator=generator(seed, "pairs")).tolist()
    return [picture for i in order[:pairs] for picture in several[i]]


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UserError(f"cannot read {path}: {why}") from None
    rows: list[Mapping[str, Any]]
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ","))
        for row in rows:
            yield str(row["picture"]), str(row["caption"])
    except (KeyError, TypeError, ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"{path}: every line needs 'picture' and 'caption' ({error})") from None


def pretrain(
    out: Path,
    *,
    source: str = "catalogue",
    pairs: int = 20000,
    epochs: int = 16,
    batch_size: int = 128,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
    config: Path | None = None,
    views: Views = "shift",
    precision: Precision = "float32",
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> Backbone:
    """Train a CLIP from random weights with the symmetric contrastive loss and save it.

    Args:
        out: folder to write: ``open_clip_config.json`` and ``open_clip_model.safetensors`` (16-bit).
        source, pairs: see `captioned_pictures`.
        config: YAML or JSON file with an open_clip ``model_cfg``; by default `TINY`.
        report: called with one line per epoch.

    Returns:
        The model as read back from ``out``.

    Raises:
        UserError: unreadable input; a loss that is not finite.

    Reference:
        Radford et al. 2021, arXiv 2103.00020.
    """
    model_cfg = TINY
    if config is not None:
        content = read_yaml(config, "the model configuration")
        model_cfg = checked(content, dict[str, Any], config, "model configuration")
    out.mkdir(parents=True, exist_ok=True)  # what cannot be written is told before minutes of training
    backbone = Backbone.random(model_cfg, seed)
    pictures = captioned_pictures(source, pairs, seed)
    count = len({picture.key for picture in pictures})
    steps = count // batch_size  # of an epoch
    if steps < 1:
        raise UserError(f"{count} pairs do not fill one batch of {batch_size}; lower --batch-size")
    loss_of = _pair_loss(backbone, pictures, seed, views, precision)
    optimizer = _optimizer(backbone.requires_grad_(True).train(), weight_decay)
    for epoch in range(epochs):
        order = torch.randperm(count, generator=generator(seed, "order", epoch))
        running = 0.0
        for step, rows in enumerate(torch.split(order[: steps * batch_size], batch_size), epoch * steps):
            with seeded(seed, "step", step):
                running += _step(backbone, optimizer, _rate(lr, step, epochs * steps), loss_of(rows, step))
        if not math.isfinite(running):
            raise UserError(f"pretraining diverged in epoch {epoch + 1}: the loss is not finite; lower --lr")
        report(f"epoch {epoch + 1}/{epochs}: loss {running / steps:.3f}")
        backbone.save(out, half=True)  # what is cut off early is of use
    backbone.eval().requires_grad_(False)
    backbone.save(Path(out), half=True)
    return Backbone.load(f"local-dir:{out}")


def _optimizer(backbone: Backbone, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that lets matrices decay, but no biases and gains; `_rate` gives the learning rates."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in backbone.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in backbone.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def _step(backbone: Backbone, optimizer: torch.optim.AdamW, rate: float, loss: Tensor) -> float:
    """One step down the gradient of this loss; returns the loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _rate(lr: float, step: int, total: int) -> float:
    """The learning rate: linear over the first twentieth of the steps, then along a cosine to zero."""
    return lr * min(1.0, (step + 1) / (0.05 * total + 1)) * 0.5 * (1 + math.cos(math.pi * step / total))


def _pair_loss(
    backbone: Backbone, pictures: Sequence[Picture], seed: int, views: Views, precision: Precision
) -> Callable[[Tensor, int], Tensor]:
    """From positions of pictures and the number of the step to their loss."""
    shown = list({picture.key: picture for picture in pictures}.values())
    side = backbone.image_size if views == "shift" else 5 * backbone.image_size // 4
    pixels = PixelStore(Preprocess(side)).get(shown)
    captions = Captions(pictures)
    ids = backbone.tokenize(captions.texts)
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32

    def loss_of(rows: Tensor, step: int) -> Tensor:
        pictured = random_views(pixels[rows], views, backbone.image_size, generator(seed, "augment", step))
        drawn, true = captions.draw(rows.tolist(), generator(seed, "captions", step))
        with torch.autocast("cpu", kind, enabled=kind != torch.float32), sdpa_kernel(_ATTENTION[precision]):
            seen, read = backbone.image(pictured).pooled, backbone.text(ids[drawn]).pooled
        image, text = F.normalize(seen.float(), dim=-1), F.normalize(read.float(), dim=-1)
        logits = cosines(image, text, backbone.logit_scale.exp().clamp(max=100))
        return info_nce(logits, positive=true, symmetric=True)

    return loss_of
