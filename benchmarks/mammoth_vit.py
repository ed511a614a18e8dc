"""Mammoth's models of a vision transformer, with the small one of `benchmarks.vit` in place of ViT-B/16.

Their classes ask for ViT-B/16 by fixed sizes, in places that take no other. What they ask for is answered
here with their own transformer in other sizes, and the weights that ours has.
"""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.mammoth import begun, train
from benchmarks.side_by_side import BATCH
from benchmarks.vit import EPOCHS, SIZES, WIDTH, classes, timm_names

__all__ = ["RANK", "start", "theirs"]

#: Of bottlenecks beside the MLPs.
RANK = 16


#: Of the arguments of a model, what every model has.
_OF_ALL = ("lr", "optimizer", "n_epochs")


def theirs(make: Callable[[], tuple[str, dict[str, Any]]], name: str, seed: int) -> float:
    """Accuracy of a model of theirs; its arguments say ``lr``, the rate of Adam unless ``optimizer`` does."""
    model, own, settings = _parts(make, seed)
    return train(model, own, name, seed, **settings)


def start(make: Callable[[], tuple[str, dict[str, Any]]], name: str, seed: int) -> Any:
    """A model of theirs before a stream, and the stream."""
    model, own, settings = _parts(make, seed)
    return begun(model, own, name, seed, **settings)


def _parts(
    make: Callable[[], tuple[str, dict[str, Any]]], seed: int
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    model, arguments = make()
    own = {key: value for key, value in arguments.items() if key not in _OF_ALL}
    settings: dict[str, Any] = {"optimizer": "adam", "n_epochs": EPOCHS}
    settings |= {key: value for key, value in arguments.items() if key in _OF_ALL}
    if model in ("l2p", "dualprompt"):  # they take so much for each of 256 pictures
        settings["lr"] *= 256 / BATCH
    settings |= {"backbone": _bare, "prepare": _SIZED.get(model), "started": partial(_last, seed)}
    return model, own, settings


def _last(seed: int, learner: Any) -> None:
    """Their last layer begins as ours, where it is there from the start."""
    net = learner.net
    for holder, name in ((net, "last"), (getattr(net, "model", None), "head")):
        if hasattr(holder, name):
            setattr(holder, name, classes(seed))
            learner.opt = learner.get_optimizer()


def _bare() -> Any:
    """Their transformer without a last layer."""
    network = importlib.import_module("backbone.vit").VisionTransformer(**SIZES, num_classes=0)
    network.load_state_dict(timm_names())
    return network


def _l2p() -> None:
    _small("models.l2p_utils.vit_prompt", "models.l2p_utils.l2p_model", "vit_base_patch16_224_l2p")


def _dualprompt() -> None:
    where = "models.dualprompt_utils"
    _small(f"{where}.vision_transformer", f"{where}.model", "vit_base_patch16_224_dualprompt")


def _small(where: str, asked_in: str, asked: str) -> None:
    """A function that makes a transformer of theirs makes a small one."""
    module = importlib.import_module(where)

    def made(pretrained: bool = True, **own: Any) -> Any:
        network = module.VisionTransformer(**SIZES, **own)
        weights = module.checkpoint_filter_fn(dict(timm_names()), network)
        missing, more = network.load_state_dict(weights, strict=False)
        assert not more and all("prompt" in key or "head" in key for key in missing), missing
        return network

    setattr(importlib.import_module(asked_in), asked, made)


def _coda() -> None:
    module = importlib.import_module("models.coda_prompt_utils.model")
    below = importlib.import_module("models.coda_prompt_utils.vit")
    vars(below)["torch"] = _Torch()
    network = below.VisionTransformer
    prompts = getattr(module, "_prompts", module.CodaPrompt)
    names: Any = vars(module)
    names["_prompts"] = prompts
    names["VisionTransformer"] = lambda **_: network(**SIZES, num_classes=0)
    names["create_vision_transformer"] = lambda *_, **__: SimpleNamespace(state_dict=timm_names)
    names["CodaPrompt"] = lambda _, tasks, sizes: prompts(WIDTH, tasks, sizes, key_dim=WIDTH)


def _ranpac() -> None:
    module = importlib.import_module("models.ranpac_utils.inc_net")
    network = importlib.import_module("models.ranpac_utils.vit").VisionTransformer
    beside = Namespace(
        ffn_adapt=True, ffn_option="parallel", ffn_adapter_layernorm_option="none", d_model=WIDTH,
        ffn_adapter_init_option="lora", ffn_adapter_scalar="0.1", ffn_num=RANK, vpt_on=False, vpt_num=0,
    )  # fmt: skip

    def made(_: Any) -> Any:
        net = module.RanPACNet.__new__(module.RanPACNet)
        module.MammothBackbone.__init__(net)
        net.fc, net.convnet = None, network(**SIZES, num_classes=0, tuning_config=beside).eval()
        missing, more = net.convnet.load_state_dict(_apart(timm_names()), strict=False)
        assert not more and all("adaptmlp" in key for key in missing), missing
        for name, parameter in net.convnet.named_parameters():
            parameter.requires_grad_(name in missing)
        return net

    vars(importlib.import_module("models.ranpac_utils.ranpac"))["RanPACNet"] = made


def _apart(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Queries, keys and values apart, the layers of an MLP without its name, as RanPAC's network has them."""
    found: dict[str, torch.Tensor] = {}
    for key, tensor in weights.items():
        if "attn.qkv" in key:
            parts = zip("qkv", tensor.chunk(3), strict=True)
            found |= {key.replace("qkv", f"{part}_proj"): piece for part, piece in parts}
        else:
            found[key.replace("mlp.fc", "fc")] = tensor
    return found


class _Torch:
    """Torch for their transformer, which on a CPU adds in place to a sum that asks for its gradient."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def zeros(self, *sizes: Any, requires_grad: bool = False) -> torch.Tensor:
        return torch.zeros(*sizes)


_SIZED: dict[str, Callable[[], None]] = {
    "l2p": _l2p,
    "dualprompt": _dualprompt,
    "coda_prompt": _coda,
    "ranpac": _ranpac,
}
