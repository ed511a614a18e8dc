"""Reading pictures: files to the pixels of a model's input, and a plain torchvision loop over the same files.

The peer opens each file with Pillow and resizes and crops it with torchvision's transforms, as the public
codes do. Ours refuses what is cut short besides. Both sides run in turns in one process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.harness import THREADS, in_turns, row
from clplat.data.decoding import picture_file
from clplat.data.images import Preprocess

SIZE = 224
PICTURES = 12


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
    return found


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
