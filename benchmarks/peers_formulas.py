"""Whether ours computes what Mammoth's code computes, with the same parameters and pictures."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.clip_formulas import reference_apart, towers_apart
from benchmarks.mammoth import missing
from benchmarks.vit_formulas import apart, coda_prompts, dual_prompts, pool_prompts
from benchmarks.vit_merging import isotropic, merged_apart, projected_apart, ties, total
from benchmarks.vit_systems import CODA, DUALPROMPT, L2P, components, general_and_own, model, pool

#: A rate, which no gradient depends on.
_RATE = 0.01
#: What is more is no rounding.
_ROUNDING = 1e-5
_free = {"clip_grad": 1e9}
_coda = partial(apart, known=coda_prompts, grows=True)
CHECKS: tuple[tuple[str, Callable[[], float], str], ...] = (
    (
        "L2P",
        lambda: apart(
            lambda: model("l2p", **L2P, **_free, head_type="token")(_RATE), pool(), pool_prompts, grows=False
        ),
        "of the class token; theirs adds the class token's position to prompts",
    ),
    (
        "DualPrompt",
        lambda: apart(
            lambda: model("dualprompt", **{**DUALPROMPT, "size": 2}, **_free)(_RATE),
            general_and_own(),
            dual_prompts,
            grows=True,
        ),
        "theirs with use_permute_fix; without, keys of one picture are values of another",
    ),
    (
        "CODA-Prompt",
        lambda: _coda(lambda: model("coda_prompt", **CODA)(_RATE), components()),
        "",
    ),
    (
        "CODA-Prompt, orthogonality",
        lambda: _coda(lambda: model("coda_prompt", **CODA, mu=0.1, ortho_mu=0.5)(_RATE), components(0.15)),
        "theirs is summed over the layers, ours their mean",
    ),
    ("RanPAC", projected_apart, "scores of items; theirs divided by their lengths, with ours' ridge"),
    ("ZSCL", reference_apart, "gradients of a step with weight 5 and temperature 2; logits"),
    ("MoE-Adapters at the start", towers_apart, "CLIP's towers; what experts read differs, see the recipe"),
    ("task arithmetic", partial(merged_apart, "TaskArithmetic", total), ""),
    ("TIES", partial(merged_apart, "TIES", ties), "theirs keeps an entry more than a fifth"),
    (
        "Iso-C",
        partial(merged_apart, "ISO", isotropic),
        "theirs of the mean of the changes, ours of their sum",
    ),
)


def rows() -> list[dict[str, Any]]:
    if what := missing():
        raise SystemExit(what)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = []
    for what, check, note in CHECKS:
        far = check()
        print(f"{what}: {far:.1e}", file=sys.stderr, flush=True)
        found.append({"what": what, "far": far, "met": far < _ROUNDING, "note": note})
    return found


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
