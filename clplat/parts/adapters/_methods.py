"""The table of weight adapters: what PEFT offers that works on CLIP towers, and what does not.

Every row was run: identity at initialisation, a gradient for every trainable tensor, base weights unchanged,
switching, saving and merging (``tests/parts/adapters/test_peft.py`` does it again for all rows). Our defaults
differ from PEFT's where those assume the widths of language models: blocks and vectors must divide the widths
of small towers too.
"""

from __future__ import annotations

from typing import Literal

from clplat.config.space import Choice
from clplat.parts.adapters._low_rank import LOW_RANK
from clplat.parts.adapters._method import EVEN, SHIFT_OF_KEYS, Method

__all__ = ["METHODS", "UNSUITABLE", "Method"]

METHODS: dict[str, Method] = LOW_RANK | {
    "oft": Method(
        "OFT",
        "OFTConfig",
        "rotations of the weights in blocks",
        "Qiu et al. 2023, arXiv 2306.07280",
        defaults={"oft_block_size": 16},
        hidden=("r",),
        stacks=False,  # PEFT merges several in another order than it applies them
    ),
    "boft": Method(
        "BOFT",
        "BOFTConfig",
        "rotations of the weights in butterfly form",
        "Liu et al. 2023, arXiv 2311.06243",
    ),
    "hra": Method(
        "HRA",
        "HRAConfig",
        "chains of Householder reflections",
        "Yuan et al. 2024, arXiv 2405.17484",
        space={"r": EVEN},
    ),
    "psoft": Method(
        "PSOFT",
        "PsoftConfig",
        "rotations within the leading singular subspace",
        "openreview FSHrinMArK",
        defaults={"r": 16, "psoft_alpha": 16, "psoft_svd": "lowrank", "psoft_svd_lowrank_niter": 4},
    ),
    "road": Method(
        "RoAD",
        "RoadConfig",
        "rotations of pairs of outputs",
        "Liao and Monz 2024, arXiv 2409.00119",
        defaults={"group_size": 16},
        types={"variant": Literal["road_1", "road_2", "road_4"]},
        space={"variant": Choice("road_1", "road_2", "road_4")},
    ),
    "ia3": Method("IA3", "IA3Config", "learned scales of activations", "Liu et al. 2022, arXiv 2205.05638"),
    "ln_tuning": Method(
        "LNTuning",
        "LNTuningConfig",
        "the layer norms themselves",
        "Zhao et al. 2023, arXiv 2312.11420",
        targets="norm",
        kinds=("norm",),
        stacks=False,
    ),
    "fourierft": Method(
        "FourierFT",
        "FourierFTConfig",
        "a few frequencies of the update's Fourier transform",
        "Gao et al. 2024, arXiv 2405.03003",
        "Starts from zeros: PEFT's own start destroys the pretrained function.",
        fixed={"init_weights": True},
    ),
    "c3a": Method(
        "C3A",
        "C3AConfig",
        "circular convolutions in blocks",
        "Chen et al. 2024, arXiv 2407.19342",
        "Starts from zeros, unlike PEFT.",
        fixed={"init_weights": True},
        defaults={"block_size": 16},
        stacks=False,
    ),
    "waveft": Method(
        "WaveFT",
        "WaveFTConfig",
        "a few coefficients of the update's wavelet transform",
        "Bilican et al. 2025, arXiv 2505.12532",
        defaults={"n_frequency": 1000},
    ),
    "osf": Method(
        "OSF",
        "OSFConfig",
        "all but the leading singular directions, which stay frozen: made for continual learning",
        "Nayak et al. 2025, arXiv 2504.07097",
        stacks=False,
    ),
    "beft": Method(
        "BEFT", "BeftConfig", "the biases", "arXiv 2509.15974", without_effect=(SHIFT_OF_KEYS + "beft_bias",)
    ),
    "frod": Method(
        "FRoD",
        "FrodConfig",
        "sparse rotations in a basis that layers share",
        "doi 10.1609/aaai.v40i31.39813",
        "Towers of different widths cannot share a basis, so one tower is the default.",
        towers="image",
        fixed={"progressbar": False},
    ),
    "adamss": Method(
        "AdaMSS",
        "AdamssConfig",
        "updates in clusters of singular directions",
        "AdaMSS, NeurIPS 2025",
        defaults={"r": 16},
        hidden=(
            "use_asa",
            "init_warmup",
            "final_warmup",
            "mask_interval",
            *(
                f"asa_{n}"
                for n in ("target_subspaces", "importance_beta", "uncertainty_beta", "schedule_exponent")
            ),
        ),
    ),
    "deft": Method(
        "DEFT",
        "DeftConfig",
        "removal of a subspace and injection into it",
        "DEFT, NeurIPS 2025",
        hidden=("para",),
    ),
    "supertuning": Method(
        "SuperTuning", "SupertuningConfig", "the largest entries of the weights", "arXiv 2607.09287"
    ),
}

#: Methods, variants and starts of PEFT that we leave out, and why.
UNSUITABLE: dict[str, str] = {
    "poly": "needs a task id with every call of the model",
    "xlora": "mixes LoRAs of a transformers model; see the strategy routed_experts",
    "arrow": "mixes LoRAs that were saved before, by their own weights; see the strategy routed_experts",
    "shadow": "runs a small copy of a transformers model beside it",
    "alora": "is switched on by words of a prompt, from which a language model generates",
    "trainable_tokens": "rebuilds the whole token table at every step; pseudo-words enter by embed_text",
    "eva": "is a start of LoRA that needs a pass over data; see the strategy informed_lora",
    "corda": "is a start of LoRA that needs a pass over data and rewrites the base",
    "lora_ga": "is a start of LoRA that needs gradients on data and rewrites the base",
    "gaussian": "is LoRA with other random numbers in A",
    "orthogonal": "is LoRA whose factors both start from random numbers, so that no other one can be added",
    "pissa_niter": "is how PiSSA begins here in wide layers, where PEFT draws a start for each",
    "loftq": "makes up for quantised weights, which CLIP towers do not have here",
    "qalora": "is for quantised weights, which CLIP towers do not have here",
    "prompt_tuning": "needs a transformers model; see the prompts of clplat",
    "multitask_prompt_tuning": "needs a transformers model; see the prompts of clplat",
    "p_tuning": "needs a transformers model; see the prompts of clplat",
    "prefix_tuning": "needs a transformers model; see the prompts of clplat",
    "adaption_prompt": "changes the attention of Llama, Mistral and GPT-2; see the prompts of clplat",
    "cpt": "needs a transformers model; see the prompts of clplat",
    "cartridge": "trains the cache of a generating model's keys and values",
}
