"""With torch alone: strategies train in a plain loop, losses and composers take tensors, extras are named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from clplat.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

#: Runs where there is torch, and what torch itself needs.
ALONE = """
import sys
import warnings
warnings.filterwarnings("ignore", "Failed to initialize NumPy")
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import clplat.strategies as strategies
from clplat import registry
from clplat.composers import Combiner, Sum
from clplat.losses import InfoNCE
from clplat.mechanisms.memory import Memory
from clplat.parts import Learner

draw = torch.Generator().manual_seed(0)
centres = 2.0 * torch.randn(2, 3, 5, generator=draw)
labels = torch.arange(3).repeat(20)
stream = [TensorDataset(c[labels] + torch.randn(60, 5, generator=draw), labels) for c in centres]
trained = []
for name in registry.names("strategies"):
    needs = registry.tag("strategies", name, "needs_embeddings", False)
    if registry.tag("strategies", name, "any_module", True) and not needs:
        strategy = registry.load("strategies", name)()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
        before = model[0].weight.detach().clone()
        learner = Learner(
            model, torch.optim.Adam(model.parameters(), lr=1e-2),
            predict_fn=lambda batch: model(batch[0]),
            loss_fn=lambda batch, outputs: nn.functional.cross_entropy(outputs, batch[1]),
        )
        for dataset in stream:
            with strategy.experience(learner, dataset) as experience:
                for batch in DataLoader(experience.dataset, 20):
                    outputs = model(batch[0])
                    loss = learner.task_loss(batch, outputs) + experience.loss(batch, outputs)
                    learner.optimizer.zero_grad()
                    loss.backward()
                    learner.optimizer.step()
        assert torch.equal(model[0].weight, before) != strategy.trains, name
        trained.append(name)
print(*trained)

queries, answers = torch.randn(4, 8, requires_grad=True), torch.randn(4, 8)
InfoNCE(temperature=0.1)(queries, answers).backward()
composer = Combiner(projection=4, hidden=4)
composer.build(8)
print(composer(queries, answers).shape, Sum()(queries, answers).norm(dim=1).allclose(torch.ones(4)))
for name, ask in {
    "LoRAPerDomain": lambda: strategies.LoRAPerDomain,
    "lora": lambda: registry.load("adapters", "lora"),
    "plugin": lambda: strategies.EWC().as_plugin(),
    "run": lambda: __import__("clplat").run,
}.items():
    try:
        ask()
    except ImportError as error:
        print("missing", name, error)
from clplat.__main__ import main
print("exit", main())
"""


def test_the_core_needs_torch_alone(tmp_path: Path) -> None:
    # What is installed, without what extras install; -S leaves out the real folder.
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if path.name.partition(".")[0] not in EXTRAS:
            (tmp_path / path.name).symlink_to(path)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", ALONE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    trained, shapes, *missing, last = done.stdout.strip().splitlines()
    wanted = {"ewc", "si", "mas", "replay", "agem", "der", "cumulative", "frozen", "patch"}
    assert wanted <= set(trained.split())
    assert shapes == "torch.Size([4, 8]) True"
    assert len(missing) == 4 and last == "exit 2"
    for line in (*missing, done.stderr.strip().splitlines()[-1]):
        assert re.search(r"needs \w+, which is not installed: pip install 'clplat\[(\w+)\]', or", line), line


def test_every_library_has_an_extra_and_all_is_everything() -> None:
    section = PROJECT.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    extras = set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
    assert set(EXTRAS.values()) <= extras
    (everything,) = re.findall(r'^all = \["clplat\[(.*)\]"\]', section, re.MULTILINE)
    ours = set(EXTRAS.values()) - {"test-integrations"}  # of loops of one's own, not of our commands
    assert ours <= set(everything.split(","))
    developing = section.partition("\ndev = [")[2]
    assert '"clplat[all,' in developing and "test-integrations" in developing
    assert 'dependencies = ["torch>=2.6"]' in PROJECT
