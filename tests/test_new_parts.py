"""A new part is its file and its test: one of several kinds is added to a copy of the tree, and works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clplat.files import read_json

ROOT = Path(__file__).resolve().parents[1]

#: All that is written, by path.
FILES = {
    "strategies/decay/shrink.py": '''"""Shrink: every step pulls the weights to zero."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Shrink"]


class Shrink(Strategy):
    """Adds the squared length of the weights to the loss.

    Args:
        lam: its weight.

    References:
        Krogh and Hertz, "A Simple Weight Decay Can Improve Generalization", NeurIPS 1991.

    Example:
        >>> Shrink(lam=0.1).lam
        0.1
    """

    terms = ("shrink",)

    def __init__(self, lam: float = 0.01) -> None:
        self.lam = lam

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        trained = [p for p in learner.model.parameters() if p.requires_grad]
        return {"shrink": self.lam * sum((p**2).sum() for p in trained)}
''',
    "tests/strategies/decay/test_shrink.py": """from clplat.testing import TinyTowers
from strategies import Shrink
from strategies.decay.shrink import Shrink as ByPath


def test_shrink_is_the_squared_length():
    model = TinyTowers()
    learner = type("Learner", (), {"model": model})()
    expected = sum(float((p.detach() ** 2).sum()) for p in model.parameters() if p.requires_grad)
    assert abs(float(Shrink(lam=0.5).loss(learner, None, None)["shrink"].detach()) - expected / 2) < 1e-3
    assert ByPath is Shrink
""",
    "clplat/parts/composers/product.py": '''"""Product: the picture, where the text agrees."""

from __future__ import annotations

from torch import Tensor

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["Product"]


class Product(Composer):
    """Multiplies the two features, number by number."""

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        return image.pooled * text.pooled
''',
    "tests/parts/composers/test_product.py": """import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers import Product


def test_product_by_hand():
    image = ImageFeatures(pooled=torch.tensor([[2.0, 3.0]]))
    text = TextFeatures(pooled=torch.tensor([[5.0, 7.0]]))
    assert Product()(image, text).tolist() == [[10.0, 21.0]]
""",
    "clplat/parts/losses/attract.py": '''"""Attract: the cosine of right pairs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import cosine_similarity

from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["Attract"]


class Attract(Loss):
    """The mean of one minus the cosine of a query and its answer."""

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        return (1 - cosine_similarity(outputs.query, outputs.candidates[: len(outputs)])).mean()
''',
    "tests/parts/losses/test_attract.py": """import torch

from clplat.models.outputs import Outputs
from clplat.parts.losses import Attract


def test_attract_is_zero_for_equal_rows():
    outputs = Outputs(torch.eye(3), torch.eye(3), torch.tensor(1.0))
    assert abs(float(Attract()(outputs, None, None))) < 1e-6
""",
    "clplat/recipes/decay/shrunken.yaml": """about:
  system: Weight decay
  paper: A Simple Weight Decay Can Improve Generalization
  match: core
  note: The squared length of the weights is a term of the loss.
strategy: shrink
strategy.lam: 0.25
composer: product
""",
}

#: One process, because each start takes seconds to import torch and Avalanche.
DRIVER = """
import pytest, clplat
from clplat.cli import main
from strategies import Shrink
print("from", clplat.__file__)
sizes = "--scenario.domains 1 --scenario.train 16 --scenario.queries 20 --scenario.gallery 20"
more = "--scenario.size 16 --train.epochs 1 --probes none --out"
run = ["run", "--no-track", *sizes.split(), *more.split()]
codes = [
    *(main(["list", kind]) for kind in ("strategies", "composers", "losses", "recipes")),
    main([*run, "runs/flags", "--strategy", "shrink", "--composer", "product", "--loss", "attract"]),
    main([*run, "runs/recipe", "--recipe", "shrunken"]),
    pytest.main(["-q", "-p", "no:cacheprovider", "-k", "shrink or product or attract", "tests"]),
]
print("exit codes", *map(int, codes))
"""


@pytest.mark.slow  # of a strategy alone, the four steps of CONTRIBUTING.md are taken in every run
def test_a_new_part_is_its_file_and_its_test(tmp_path: Path) -> None:
    copy = tmp_path / "a folder" / "clplat"
    for name in ("clplat", "strategies", "scenarios", "tests/contracts"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy2(ROOT / name, copy / name)
    for name, text in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text, encoding="utf-8")

    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=copy, env=environment, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    assert f"from {copy}" in said and "exit codes 0 0 0 0 0 0 0" in said, said
    for line in ("shrink +Adds the squared", "product +Multiplies", "attract +The mean", "shrunken"):
        assert re.search(rf"^ *{line}", said, re.MULTILINE), f"{line}\n{said}"
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed.group(1)) > 35 and "failed" not in said, said
    result = read_json(copy / "runs" / "recipe" / "result.json")
    assert result["config"]["strategy"] == {"name": "shrink", "lam": 0.25}
    assert result["config"]["composer"]["name"] == "product" and "shrink" in result["training"]
    flags = read_json(copy / "runs" / "flags" / "result.json")["config"]
    assert [flags[slot]["name"] for slot in ("strategy", "composer", "loss")] == [
        "shrink",
        "product",
        "attract",
    ]
