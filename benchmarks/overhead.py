"""What the training loop costs beyond the arithmetic, and what an experience costs in a longer stream.

* A step: an experience of 600 triplets by an `Experiment`'s trainer (Avalanche's hooks, logging, checks,
  seeding, progress, FLOP counting, the beginning and the end of the experience) against the loop that one
  would write by hand around the same model, collate, loss, optimizer, schedule and clipping. Once with a live
  LoRA, once with a frozen backbone whose features are kept, where a step takes milliseconds.
* Growth: seconds per step in the last experience of 20 domains against the last of 5, for strategies whose
  memory is constant, and the seconds per domain that evaluating all of them takes.

Both sides run in turns in one process on one thread, which a neighbour disturbs least; medians.
``python -m benchmarks.overhead`` prints the rows as JSON.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.harness import in_turns, row
from clplat.config.resolve import resolve
from clplat.events import Listener
from clplat.progress import Progress
from clplat.runs.assembly import make_trainer
from clplat.runs.experiment import Experiment
from clplat.training.trainer import Trainer

#: Strategies that keep no more in a longer stream.
CONSTANT: dict[str, dict[str, Any]] = {
    "naive": {},
    "replay": {"strategy.size": 400, "strategy.batch_size": 16},
    "ewc": {},
    "distill": {},
}
SHORT, LONG = 5, 20


def experiment(folder: Path, **options: Any) -> Experiment:
    """An experiment that is not run as a whole: it lends its parts, and its trainer with what hangs on it."""
    config = resolve({name.replace("__", "."): value for name, value in options.items()})
    return Experiment(config, folder, Listener())


def by_hand(made: Experiment) -> None:
    """The first experience in a plain loop."""
    config, parts = made.trainer.config, made.parts
    model, data = parts.retriever.train(), list(parts.domains[0].train)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay, foreach=True)
    loader = DataLoader(data, config.batch_size, shuffle=True, collate_fn=parts.collate)
    total = len(loader) * config.epochs

    def factor(step: int) -> float:
        return min(1, (step + 1) / (config.warmup * total)) * 0.5 * (1 + math.cos(math.pi * step / total))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    losses = []
    for _ in range(config.epochs):
        for batch in loader:
            optimizer.zero_grad()
            outputs = model(batch)
            loss = parts.loss(outputs, batch, Progress())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.clip)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())


def by_trainer(made: Experiment) -> None:
    """The same by our trainer, with all that an experiment hangs on it."""
    made.trainer.flops_per_step.clear()
    made.trainer.train(made.parts.benchmark.train_stream[0], eval_streams=[])


def steps(folder: Path) -> list[dict[str, Any]]:
    """A step of the loop against a step by hand."""
    live = experiment(folder / "live", scenario__domains=1, adapter="lora", features="off", train__epochs=2)
    kept = experiment(
        folder / "kept", scenario__domains=1, adapter="none", composer="combiner", train__epochs=30
    )
    found = []
    for what, made in (("LoRA in both towers", live), ("combiner on kept features", kept)):
        count = -(-len(made.parts.domains[0].train) // made.trainer.config.batch_size)
        count *= made.trainer.config.epochs
        ours, peer = in_turns(lambda made=made: by_trainer(made), lambda made=made: by_hand(made))
        note = f"clplat-tiny, batch {made.trainer.config.batch_size}, {count} steps; peer: a loop by hand"
        found.append(row(f"step: {what}", ours / count, peer / count, "<= 1.03x", note))
    return found


def at_the_last(folder: Path, domains: int, **options: Any) -> tuple[Experiment, Trainer]:
    """A trainer that has seen all domains but the last."""
    sizes = {"scenario__train": 64, "scenario__queries": 20, "scenario__gallery": 40, "scenario__size": 48}
    more = {"train__batch_size": 16, "train__epochs": 1, "features": "off", "adapter": "lora"}
    made = experiment(folder, scenario__domains=domains, **sizes, **more, **options)
    trainer = make_trainer(made.config, made.parts)
    trainer.train(made.parts.benchmark.train_stream[: domains - 1], eval_streams=[])
    return made, trainer


def growth(folder: Path) -> list[dict[str, Any]]:
    """What the last experience of a stream costs."""
    found = []
    for name, options in CONSTANT.items():
        options = {key.replace(".", "__"): value for key, value in options.items()}
        runs = [at_the_last(folder / f"{name}{n}", n, strategy=name, **options) for n in (LONG, SHORT)]

        def last(made: Experiment, trainer: Trainer) -> None:
            trainer.train_epochs = 2
            trainer.train(made.parts.benchmark.train_stream[-1], eval_streams=[])

        ours, peer = in_turns(lambda: last(*runs[0]), lambda: last(*runs[1]))  # noqa: B023
        note = f"clplat-tiny, LoRA, batch 16; the last of {LONG} domains; peer: the last of {SHORT}"
        found.append(row(f"step in a long stream: {name}", ours / 8, peer / 8, "<= 1.1x", note))
        if name == "naive":
            long, short = (run[0].parts for run in runs)
            ours, peer = in_turns(
                lambda: long.evaluator.row(long.retriever.eval()),  # noqa: B023
                lambda: short.evaluator.row(short.retriever.eval()),  # noqa: B023
            )
            note = f"{LONG} domains, 20 queries on 40 pictures each, and the probes; peer: {SHORT} domains"
            found.append(row("evaluation, a domain", ours / LONG, peer / SHORT, "<= 1.1x", note))
    return found


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        held = os.environ.get("CLPLAT_CACHE")
        os.environ["CLPLAT_CACHE"] = f"{folder}/cache"
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [*steps(Path(folder)), *growth(Path(folder))]
        finally:
            torch.set_num_threads(threads)
            del os.environ["CLPLAT_CACHE"]
            if held is not None:
                os.environ["CLPLAT_CACHE"] = held


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
