"""Reading pictures: files to the pixels of a model's input, and a plain torchvision loop over the same files.

The peer opens each file with Pillow and resizes and crops it with torchvision's transforms, as the public
codes do. Ours refuses what is cut short besides. Both sides run in turns in one process. The last row reads
tar shards that are not in the page cache, in the order of the sampler `shards` and at random.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.harness import THREADS, in_turns, row
from clplat.data.decoding import picture_file
from clplat.data.examples import Pair
from clplat.data.images import PixelStore, Preprocess
from clplat.data.sources.tar_shards import open_shards
from clplat.data.tar_pictures import TarPictures
from clplat.parts.samplers._base import Sampler
from clplat.parts.samplers.shards import Shards
from clplat.parts.samplers.shuffled import Shuffled

SIZE = 224
PICTURES = 12
SHARDS, IN_SHARD, SHARD_SIZE = 4, 2000, 128


def rows() -> list[dict[str, Any]]:
    torch.set_num_threads(THREADS)
    resized = transforms.Resize(SIZE, transforms.InterpolationMode.BICUBIC)
    plain = transforms.Compose([resized, transforms.CenterCrop(SIZE), transforms.PILToTensor()])
    found = []
    for kind, width, height, draft, target in (
        ("jpg", 256, 320, 0, ">= 1x"),
        ("jpg", 1200, 1000, 0, ">= 1x"),
        ("jpg", 1200, 1000, 2, ">= 2x"),
        ("png", 640, 480, 0, ">= 1x"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            files = _files(Path(folder), kind, width, height)
            pictures = [picture_file(file.name, file) for file in files]
            preprocess = Preprocess(SIZE, draft=draft)

            def peer(files: list[Path] = files) -> None:
                for file in files:
                    with Image.open(file) as shown:
                        plain(shown.convert("RGB"))

            ours, theirs = in_turns(lambda p=preprocess, s=pictures: [p.of(one) for one in s], peer)  # type: ignore[misc]
        what = f"{kind} of {width} x {height}{f', --data.draft {draft}' if draft else ''}, read at {SIZE}"
        found.append(row(what, ours, theirs, target, f"{PICTURES} files; the peer is Pillow and torchvision"))
    return [*found, _shards()]


def _shards() -> dict[str, Any]:
    """A pass over pictures in tar files: read forward, or wherever the draw goes."""
    with tempfile.TemporaryDirectory() as folder:
        source = open_shards(_tar_files(Path(folder))).pictures
        assert isinstance(source, TarPictures)
        examples = [Pair(name, source.picture(name), "words", domain="d") for name in source.members]
        seeds = count()

        def read(sampler: Sampler) -> None:
            _forget(source.shards)
            draw = torch.Generator().manual_seed(next(seeds))
            for batch in sampler.batches(examples, 32, draw, lambda _: torch.empty(0)):
                PixelStore(Preprocess(SHARD_SIZE), 0).get([examples[i].query.picture for i in batch])  # type: ignore[misc]

        ours, theirs = in_turns(lambda: read(Shards()), lambda: read(Shuffled()))
    what = f"{SHARDS} shards of {IN_SHARD:,} jpg of {SHARD_SIZE} x {SHARD_SIZE}, --sampler shards"
    note = "one pass, decoded in one process, nothing in the page cache; the peer is --sampler shuffled"
    return row(what, ours, theirs, "reported", note)


def _tar_files(folder: Path) -> Path:
    files = _files(folder, "jpg", SHARD_SIZE, SHARD_SIZE)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for i in range(IN_SHARD):
                tar.add(files[i % len(files)], f"{shard}{i:06d}.reference.jpg")
    return folder


def _forget(files: Iterable[str]) -> None:
    """Drop them from the page cache, where the system lets one ask for it."""
    for name in files:
        with open(name, "rb") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _files(folder: Path, kind: str, width: int, height: int) -> list[Path]:
    """Soft shapes under a little noise, of about as many bytes as photographs of the size have."""
    draw = np.random.default_rng(0)
    files = []
    for number in range(PICTURES):
        coarse = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        noisy = (soft + draw.normal(0, 4, soft.shape)).clip(0, 255).astype(np.uint8)
        files.append(folder / f"{number}.{kind}")
        Image.fromarray(noisy).save(files[-1], **({"quality": 90} if kind == "jpg" else {}))
    return files
