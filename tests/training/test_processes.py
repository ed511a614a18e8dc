"""Two processes that train one model: every strategy ends with the same weights and the declared state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Each process runs every strategy in turn: starting is what costs.
PROCESS = '''
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from clplat import registry
from clplat.parts import Learner
from clplat.training.order import WrongCall

rank, where = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)

draw = torch.Generator().manual_seed(0)
labels = torch.arange(4).repeat(10)
centres = 2.0 * torch.randn(2, 4, 6, generator=draw)
stream = [TensorDataset(c[labels] + torch.randn(40, 6, generator=draw), labels) for c in centres]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def learner_of(model, **more):
    return Learner(
        model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        predict_fn=lambda batch: model(batch[0]),
        loss_fn=lambda batch, outputs: nn.functional.cross_entropy(outputs, batch[1]), **more,
    )


def train(strategy, learner, apart=False):
    """Each process sees its share of the data; apart: it has no more than its share."""
    for number, dataset in enumerate(stream):
        own = torch.utils.data.Subset(dataset, range(rank, len(dataset), 2)) if apart else dataset
        with strategy.experience(learner, own) as experience:
            count, place = (1, 0) if apart else (2, rank)
            shares = DistributedSampler(experience.dataset, count, place, seed=number)
            for batch in DataLoader(experience.dataset, 5, sampler=shares):
                outputs = learner.predict(batch)
                loss = learner.task_loss(batch, outputs) + experience.loss(batch, outputs)
                learner.optimizer.zero_grad()
                loss.backward()
                learner.optimizer.step()


def flat(tree, path=""):
    """Path -> tensor of a tree of state."""
    if isinstance(tree, torch.Tensor):
        return {path: tree.double()}
    if isinstance(tree, list | tuple):
        tree = dict(enumerate(tree))
    items = tree.items() if isinstance(tree, dict) else ()
    return {k: v for name, part in items for k, v in flat(part, f"{path}/{name}").items()}


def apart(tensors):
    """The names of those that differ between the processes."""
    both = [None, None]
    dist.all_gather_object(both, tensors)
    assert both[0].keys() == both[1].keys()
    return [name for name in both[0] if not torch.equal(both[0][name], both[1][name])]


for name in registry.names("strategies"):
    made = registry.load("strategies", name)
    if not made.any_module or made.needs_embeddings:
        continue
    strategy, model = made(), network()
    before = model[0].weight.detach().clone()
    train(strategy, learner_of(DistributedDataParallel(model)))
    found = apart(flat(model.state_dict()))
    assert not found, f"{name}: {found} of the model differ"
    assert torch.equal(before, model[0].weight) != made.trains, name
    state = flat(strategy.state_dict())
    assert not [key for key in state if "module." in key or "_orig_mod" in key], (name, [*state])
    found = apart({key: value for key, value in state.items() if made.shares or "memory" not in key})
    assert not found, f"{name}: {found} of the state differ"
    if not made.shares:
        assert apart({key: value for key, value in state.items() if "groups" in key}), name
    print(name)

for name in ("agem", "replay", "mas"):
    strategy, model = registry.load("strategies", name)(), network()
    train(strategy, learner_of(DistributedDataParallel(model)), apart=True)
    found = apart(flat(model.state_dict()))
    assert not found, f"{name}, each with data of its own: {found} of the model differ"
    if name == "mas":
        assert not apart(flat(strategy.state_dict()))

# Not reduced: each process has gradients of its own.
try:
    train(registry.load("strategies", "ewc")(), learner_of(network()))
except WrongCall as error:
    print("refused", error)
train(registry.load("strategies", "ewc")(), learner_of(network(), alone=True))
print("alone")
dist.destroy_process_group()
'''


def test_all_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROCESS, str(rank), str(tmp_path / "meeting")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=240) for process in running]
    assert not any(process.returncode for process in running), "\n".join(err for _, err in ends)
    first, second = (out.splitlines() for out, _ in ends)
    assert first == second
    assert {
        "distill",
        "ewc",
        "si",
        "mas",
        "replay",
        "agem",
        "der",
        "patch",
        "naive",
        "frozen",
        "cumulative",
    } <= {*first}
    assert first[-1] == "alone" and "refused gradients differ between the processes: reduce them" in first[-2]
