"""Pretrain a small CLIP on captioned pictures and write a folder that open_clip itself loads.

`clplat-tiny`, the shipped model, was made by this script with its defaults: ``clplat pretrain --out FOLDER``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clplat.config.reading import read_yaml
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Picture
from clplat.documents.checked import checked
from clplat.errors import UserError, unknown_name
from clplat.files import write_text
from clplat.models.backbone import Backbone
from clplat.models.outputs import cosines
from clplat.parts.losses.info_nce import info_nce
from clplat.randomness import generator, seeded

from .captions import Captions
from .made_of import folder_of
from .presets import PRESETS, Preset
from .sources import captioned_pictures
from .views import random_views

__all__ = ["pretrain"]

#: Stands beside weights in the cache that were trained to the end.
WHOLE = "done"
#: On a CPU the plain form is a fifth faster than the fused one in 16 bits, and slower in 32.
_ATTENTION = {
    "float32": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "bfloat16": [SDPBackend.MATH],
}


def pretrain(
    out: Path | None = None,
    *,
    source: str = "catalogue",
    pairs: int = 20000,
    preset: str = "tiny",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    weight_decay: float = 0.05,
    config: Path | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> Backbone:
    """Train a CLIP from random weights with the symmetric contrastive loss and save it after every epoch.

    Args:
        out: folder to write: ``open_clip_config.json`` and ``open_clip_model.safetensors`` (16-bit). By
            default one in the cache, named after what makes it; a model that is there already is taken.
        source, pairs: see `captioned_pictures`.
        preset: what the options below are unless given, a key of `PRESETS`.
        config: YAML or JSON file with an open_clip ``model_cfg``.
        report: called with one line per epoch.

    Returns:
        The model as read back; its name is ``local-dir:`` and its folder.

    Raises:
        UserError: unreadable input; a loss that is not finite.

    Reference:
        Radford et al. 2021, arXiv 2103.00020.
    """
    chosen = _chosen(preset, config, {"epochs": epochs, "batch_size": batch_size, "lr": lr})
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # what cannot be written is told before minutes of training
    pictures = captioned_pictures(source, pairs, seed)
    folder = out or folder_of(source, pictures, chosen, weight_decay, seed)
    if out is not None or not (folder / WHOLE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _train(folder, pictures, chosen, weight_decay, seed, report)
        if out is None:
            write_text(folder / WHOLE, f"{chosen.epochs} epochs\n")
    return Backbone.load(f"local-dir:{folder}")


def _chosen(preset: str, config: Path | None, given: Mapping[str, Any]) -> Preset:
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    options = {name: value for name, value in given.items() if value is not None}
    if config is not None:
        content = read_yaml(config, "the model configuration")
        options["model_cfg"] = checked(content, dict[str, Any], config, "model configuration")
    return replace(PRESETS[preset], **options)


def _train(
    folder: Path,
    pictures: Sequence[Picture],
    chosen: Preset,
    weight_decay: float,
    seed: int,
    report: Callable[[str], None],
) -> None:
    backbone = Backbone.random(chosen.model_cfg, seed)
    count, size, epochs = len({picture.key for picture in pictures}), chosen.batch_size, chosen.epochs
    steps = count // size  # of an epoch
    if steps < 1:
        raise UserError(f"{count} pairs do not fill one batch of {size}; lower --batch-size")
    loss_of = _pair_loss(backbone, pictures, seed, chosen)
    optimizer = _optimizer(backbone.requires_grad_(True).train(), weight_decay)
    for epoch in range(epochs):
        order = torch.randperm(count, generator=generator(seed, "order", epoch))
        running = 0.0
        for step, rows in enumerate(torch.split(order[: steps * size], size), epoch * steps):
            with seeded(seed, "step", step):
                rate = _rate(chosen.lr, step, epochs * steps)
                running += _step(backbone, optimizer, rate, loss_of(rows, step))
        if not math.isfinite(running):
            raise UserError(f"pretraining diverged in epoch {epoch + 1}: the loss is not finite; lower --lr")
        report(f"epoch {epoch + 1}/{epochs}: loss {running / steps:.3f}")
        backbone.save(folder, half=True)  # what is stopped early is of use


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
    backbone: Backbone, pictures: Sequence[Picture], seed: int, chosen: Preset
) -> Callable[[Tensor, int], Tensor]:
    """From positions of pictures and the number of the step to their loss."""
    shown = list({picture.key: picture for picture in pictures}.values())
    side = backbone.image_size if chosen.views == "shift" else 5 * backbone.image_size // 4
    pixels = PixelStore(Preprocess(side)).get(shown)
    captions = Captions(pictures)
    ids = backbone.tokenize(captions.texts)
    kind = getattr(torch, chosen.precision)

    def loss_of(rows: Tensor, step: int) -> Tensor:
        pictured = random_views(
            pixels[rows], chosen.views, backbone.image_size, generator(seed, "augment", step)
        )
        drawn, true = captions.draw(rows.tolist(), generator(seed, "captions", step))
        with (
            torch.autocast("cpu", kind, enabled=kind != torch.float32),
            sdpa_kernel(_ATTENTION[chosen.precision]),
        ):
            seen, read = backbone.image(pictured).pooled, backbone.text(ids[drawn]).pooled
        image, text = F.normalize(seen.float(), dim=-1), F.normalize(read.float(), dim=-1)
        logits = cosines(image, text, backbone.logit_scale.exp().clamp(max=100))
        return info_nce(logits, positive=true, symmetric=True)

    return loss_of
