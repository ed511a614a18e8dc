"""A small GeneCIS: four tasks of templates with candidates of their own, and drawn pictures."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["genecis"]


def genecis(folder: Path, pictures: int = 24, templates: int = 6, seed: int = 0) -> Path:
    """Write ``genecis/<task>.json``, ``val2017`` and ``VG_100K_all``.

    Args:
        folder: what all is written to.
        pictures: in each of the two folders.
        templates: of each task.
        seed: of the looks of pictures, and of the templates.

    Returns:
        ``folder``.

    Example:
        >>> from tempfile import mkdtemp
        >>> sorted(path.name for path in genecis(Path(mkdtemp())).iterdir())
        ['VG_100K_all', 'genecis', 'val2017']
    """
    draw = random.Random(seed)
    looks = {i + 1: (draw.choice(COLOURS), draw.choice(SHAPES)) for i in range(pictures)}
    for number, look in looks.items():
        put(folder / "val2017" / f"{number:012d}.jpg", *look)
        put(folder / "VG_100K_all" / f"{number}.jpg", *look)
    for task in ("focus_attribute", "change_attribute", "focus_object", "change_object"):
        others = 9 if task == "focus_attribute" else 14
        made = [_template(task, others, looks, draw) for _ in range(templates)]
        (folder / "genecis").mkdir(exist_ok=True)
        (folder / "genecis" / f"{task}.json").write_text(json.dumps(made))
    return folder


def _template(
    task: str, others: int, looks: dict[int, tuple[str, str]], draw: random.Random
) -> dict[str, Any]:
    numbers = draw.sample(sorted(looks), others + 2)
    if task.endswith("object"):
        shown: list[dict[str, Any]] = [{"val_image_id": number} for number in numbers]
    else:
        boxes = [[draw.randrange(16), draw.randrange(16), draw.randrange(6, 16), 10] for _ in numbers]
        shown = [{"image_id": n, "instance_bbox": box} for n, box in zip(numbers, boxes, strict=True)]
    reference, target, *gallery = shown
    condition = looks[numbers[1]][task.endswith("object")]
    return {"condition": condition, "reference": reference, "target": target, "gallery": gallery}
