"""Rows of the table of weight adapters: low-rank updates, their kin, and bases that layers share."""

from __future__ import annotations

from typing import Any

from clplat.config.space import Choice
from clplat.parts.adapters._method import EVEN, SHIFT_OF_KEYS, Method

__all__ = ["LOW_RANK"]

_LORA = {"r": 8, "lora_alpha": 16}
#: BD-LoRA's factor in blocks: A where a layer reads what the ones before it were split into, B elsewhere.
_BLOCKS = {
    "target_modules_bd_a": ["c_proj", "out_proj", "fc2"],
    "target_modules_bd_b": ["c_fc", "q_proj", "k_proj", "v_proj", "fc1", "qkv"],
    "match_strict": False,
}


def _lora(name: str, title: str, paper: str, remark: str = "", **more: Any) -> Method:
    return Method(name, "LoraConfig", title, paper, remark, defaults=_LORA, **more)


LOW_RANK: dict[str, Method] = {
    "lora": _lora("LoRA", "low-rank updates B A of the weights", "Hu et al. 2021, arXiv 2106.09685"),
    "rslora": _lora(
        "RsLoRA",
        "LoRA scaled by alpha / sqrt(r), so that high ranks keep learning",
        "Kalajdzievski 2023, arXiv 2312.03732",
        fixed={"use_rslora": True},
    ),
    "lora_plus": _lora(
        "LoRAPlus",
        "LoRA whose B learns faster than its A",
        "Hayou et al. 2024, arXiv 2402.12354",
        b_rate=16.0,
    ),
    "dora": _lora(
        "DoRA",
        "LoRA on directions, with magnitudes learned apart",
        "Liu et al. 2024, arXiv 2402.09353",
        "A training step takes about 1.5 times that of LoRA.",
        fixed={"use_dora": True},
    ),
    "pissa": _lora(
        "PiSSA",
        "LoRA that starts from the leading singular vectors",
        "Meng et al. 2024, arXiv 2404.02948",
        fixed={"init_lora_weights": "pissa"},
        kept="leading",
        rewrites_base=True,
    ),
    "olora": _lora(
        "OLoRA",
        "LoRA that starts from an orthonormal factor of the weights",
        "Büyükakyüz 2024, arXiv 2406.01775",
        fixed={"init_lora_weights": "olora"},
        kept="first columns",
        rewrites_base=True,
    ),
    "mica": _lora(
        "MiCA",
        "LoRA whose B is fixed to the least singular vectors of the weights",
        "arXiv 2604.01694",
        fixed={"init_lora_weights": "mica"},
        kept="least",
    ),
    "kasa": _lora(
        "KaSA",
        "singular values of the update, on weights without their least singular directions",
        "arXiv 2412.06071",
        "Attaching takes the last r directions out of the weights, so that it is no identity. Of the tests' "
        "towers, 32 and 48 units wide, eight are a quarter: features move by 0.31.",
        nested=("kasa_config", "KasaConfig"),
        kept="least",
        rewrites_base=True,
        tolerance=0.35,
    ),
    "bdlora": _lora(
        "BDLoRA",
        "LoRA with one factor in blocks, as towers are split over devices",
        "BD-LoRA of PEFT",
        nested=("use_bdlora", "BdLoraConfig"),
        fixed=_BLOCKS,
        space={"r": EVEN, "nblocks": Choice(2, 4)},
    ),
    "monteclora": _lora(
        "MonteCLoRA",
        "LoRA whose A is drawn around its mean in training",
        "arXiv 2411.04358",
        "Every pass in training draws anew, as PEFT's buffers of draws do not outlive a run.",
        nested=("monteclora_config", "MontecloraConfig"),
        fixed={"buffer_size": 1},
    ),
    "adalora": Method(
        "AdaLoRA",
        "AdaLoraConfig",
        "low-rank updates P E Q, of which ranks can be taken away",
        "Zhang et al. 2023, arXiv 2303.10512",
        "Ranks stay as they are unless the strategy `rank_budget` allots them.",
        fixed={"total_step": 1},
        hidden=("r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2"),
        defaults={"lora_alpha": 16},
    ),
    "velora": _lora(
        "VeLoRA",
        "LoRA whose backward pass stores compressed activations",
        "Miles et al. 2024, arXiv 2405.17991",
        "Gradients are approximate.",
        nested=("velora_config", "VeloraConfig"),
        stacks=False,  # what it compresses by follows the activations, also where it is frozen
    ),
    "vera": Method(
        "VeRA",
        "VeraConfig",
        "scaling vectors around random matrices that all layers share",
        "Kopiczko et al. 2023, arXiv 2310.11454",
    ),
    "pvera": Method(
        "PVeRA",
        "PveraConfig",
        "VeRA with learned distributions of the vectors",
        "arXiv 2512.07703",
        hidden=("sample_at_inference",),
    ),
    "loha": Method(
        "LoHa",
        "LoHaConfig",
        "Hadamard products of two low-rank updates",
        "Hyeon-Woo et al. 2021, arXiv 2108.06098",
    ),
    "lokr": Method(
        "LoKr", "LoKrConfig", "Kronecker products of small factors", "Yeh et al. 2023, arXiv 2309.14859"
    ),
    "vblora": Method(
        "VBLoRA",
        "VBLoRAConfig",
        "low-rank updates mixed from one bank of vectors",
        "Li et al. 2024, arXiv 2405.15179",
        defaults={"vector_length": 16},
        tolerance=1e-2,
    ),
    "unilora": Method(
        "UniLoRA",
        "UniLoraConfig",
        "low-rank updates projected from one vector",
        "Li et al. 2025, arXiv 2506.00799",
        tolerance=1e-2,
    ),
    "miss": Method(
        "MiSS",
        "MissConfig",
        "one small matrix, shared by the shards of a layer",
        "Kang and Yin 2024, arXiv 2409.15371",
        defaults={"r": 8},
    ),
    "randlora": Method(
        "RandLoRA",
        "RandLoraConfig",
        "full-rank sums of scaled random low-rank bases",
        "Albert et al. 2025, arXiv 2502.00987",
    ),
    "shira": Method(
        "SHiRA",
        "ShiraConfig",
        "a sparse random subset of the weights",
        "Bhardwaj et al. 2024, arXiv 2406.13175",
        hidden=("mask_type",),
        defaults={"r": 8},
    ),
    "delora": Method(
        "DeLoRA", "DeloraConfig", "low-rank updates of bounded length", "Bini et al. 2025, arXiv 2503.18225"
    ),
    "gralora": Method(
        "GraLoRA",
        "GraloraConfig",
        "LoRA in blocks of the weight",
        "Jung et al. 2025, arXiv 2505.20355",
        defaults={"r": 8, "alpha": 16},
        space={"r": EVEN},
    ),
    "hira": Method(
        "HiRA",
        "HiraConfig",
        "low-rank updates multiplied with the weights",
        "Huang et al. 2025, openreview TwJrTz9cRS",
        defaults={"r": 8},
    ),
    "tinylora": Method(
        "TinyLoRA", "TinyLoraConfig", "a handful of numbers per layer", "arXiv 2602.04118", kept="leading"
    ),
    "peanut": Method(
        "PEANuT",
        "PeanutConfig",
        "small networks of the weights as the update",
        "arXiv 2410.01870",
        defaults={"r": 8},
    ),
    "lily": Method(
        "Lily",
        "LilyConfig",
        "low-rank factors shared between layers",
        "Zhong et al. 2024, arXiv 2407.09946",
        defaults={"r": 8},
        mergeable=False,
    ),
    "glora": Method(
        "GLoRA",
        "GloraConfig",
        "scales and shifts of weights and biases",
        "Chavan et al. 2023, arXiv 2306.07967",
        # E is one number for all outputs: where they are added to the residual stream, the mean that every
        # later layer norm takes away.
        without_effect=(SHIFT_OF_KEYS + "glora_[CDE]", r"\.(out_proj|c_proj)\.glora_E"),
    ),
}
