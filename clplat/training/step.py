"""How a step is computed: in which numbers, by which code, in which mode, at what cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from inspect import unwrap

import torch
from torch import nn

from clplat.data.batch import Batch
from clplat.errors import UserError
from clplat.flops import FlopCount
from clplat.models.source import FeatureSource
from clplat.parts.losses._base import Loss, NoLoss
from clplat.training.hooks import Hooks

__all__ = [
    "autocast_dtype",
    "compile_blocks",
    "counting",
    "frozen_parts",
    "in_batches",
    "reads_no_query",
    "refuse_dead_tensors",
]


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What the towers compute in under ``TrainConfig.precision``; None for fp32.

    Raises:
        UserError: this machine would only imitate it, several times slower than fp32.
    """
    if precision == "fp32":
        return None
    if device.type == "cuda":
        able, lacks = torch.cuda.is_bf16_supported(including_emulation=False), "no bf16 units"
    elif device.type == "cpu":
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        lacks = "neither AVX512-BF16 nor AMX"
    else:
        able, lacks = torch.amp.is_autocast_available(device.type), "no autocast in torch"
    if not able:
        raise UserError(f"precision '{precision}' is slow on device '{device}', which has {lacks}; use fp32")
    return torch.bfloat16


def compile_blocks(model: nn.Module) -> None:
    """Let torch compile each transformer block of the towers.

    A block is compiled once and serves all blocks of its shape, for any batch: seconds, not the minutes of a
    whole model. The last block, of which one row is needed, runs part by part and stays as it is.

    Raises:
        UserError: there is no such block.
    """
    towers = [m for m in model.modules() if isinstance(getattr(m, "resblocks", None), nn.ModuleList)]
    if not towers:
        raise UserError("compile needs a standard CLIP transformer, which this backbone does not have")
    for tower in towers:
        for block in tower.resblocks:  # type: ignore[union-attr]
            block.compile(dynamic=True)


def frozen_parts(model: nn.Module) -> list[nn.Module]:
    """The largest modules that hold parameters of which none is trained.

    They stay in evaluation mode: no dropout, no moving statistics, in what never trains.
    """
    holders, alive = set(), set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        while name:
            name = name.rpartition(".")[0]
            holders.add(name)
            if parameter.requires_grad:
                alive.add(name)
    frozen = holders - alive
    return [
        module
        for name, module in model.named_modules()
        if name in frozen and (not name or name.rpartition(".")[0] in alive)
    ]


def idle_tensors(model: nn.Module) -> set[int]:
    """Identities of the parameters of modules that say of themselves that they ``may_idle``.

    A batch may leave them out, as tokens leave out experts: they need no gradient in the first step.
    """
    idle = [module for module in model.modules() if getattr(module, "may_idle", False)]
    return {id(parameter) for module in idle for parameter in module.parameters()}


def refuse_dead_tensors(
    tensors: Iterable[tuple[str, nn.Parameter]],
    optimizer: torch.optim.Optimizer,
    idle: Collection[int] = (),
) -> None:
    """After the first backward pass every trainable tensor must have a gradient, and an optimizer.

    Args:
        idle: identities of those that may be without a gradient, see `idle_tensors`.
    """
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    trained = [(name, p) for name, p in tensors if p.requires_grad]
    late = [name for name, p in trained if id(p) not in optimized]
    if late:
        raise UserError(
            f"{len(late)} tensors became trainable after the optimizer was built: {', '.join(late[:3])}; "
            "add and unfreeze parts in before_experience"
        )
    dead = [name for name, p in trained if p.grad is None and id(p) not in idle]
    if dead:
        more = f" and {len(dead) - 3} more" if len(dead) > 3 else ""
        raise UserError(
            f"{len(dead)} trainable tensors get no gradient: {', '.join(dead[:3])}{more}; "
            "the composer or the adapter's targets do not use them"
        )


@contextmanager
def counting(cache: FeatureSource | None, compiled: bool) -> Iterator[FlopCount]:
    """Inside, floating-point operations and passes are counted; afterwards the total is there."""
    # Operations of compiled code cannot be counted.
    eager = torch.compiler.set_stance("force_eager" if compiled else "default")
    # What is computed to be kept is no part of a step: the next one finds it.
    keeping = cache.counting() if cache is not None else nullcontext(lambda: 0)
    with eager, FlopCount() as counter, keeping as kept:
        yield counter
    counter.total -= kept()


def in_batches(passes: Mapping[str, int], batch: Batch) -> dict[str, float]:
    """Rows that went through the towers, in pictures and texts of a batch: 1 is a pass."""
    sizes = {"image": len(batch.pictures), "text": len(batch.texts)}
    return {name: rows / max(1, sizes[name.partition("_")[0]]) for name, rows in passes.items()}


def reads_no_query(loss: Loss, strategy: Hooks) -> bool:
    """Whether a step has no loss but the model's own, and no hook that sees what the model puts out."""
    own = type(strategy)
    looks = unwrap(own.loss) is not Hooks.loss or unwrap(own.after_step) is not Hooks.after_step
    return isinstance(loss, NoLoss) and not looks
