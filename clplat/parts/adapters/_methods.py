"""The table of weight adapters: what PEFT offers that works on CLIP towers, and what does not.

Every row was run: identity at initialisation, a gradient for every trainable tensor, base weights unchanged,
switching, saving and merging (``tests/models/test_adapters.py`` does it again for all rows). Our defaults
differ from PEFT's where those assume the widths of language models: blocks and vectors must divide the widths
of small towers too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clplat.config.space import Choice, Space

__all__ = ["METHODS", "UNSUITABLE", "Method"]


@dataclass(frozen=True)
class Method:
    """One PEFT method as we offer it.

    Attributes:
        name: of the public class; config: of PEFT's configuration class.
        title: what it is; paper: where it is from; remark: what a user must know.
        fixed: fields of the configuration that are not options.
        defaults: our defaults where they differ from PEFT's.
        hidden: options that do nothing here.
        nested: field of a sub-configuration, and its class, whose fields are options too.
        types: of options whose type PEFT does not state; space: search space where ours is special.
        targets: the kind of modules that it wraps by default; kinds: all that it can wrap; towers: default.
        without_effect: names of tensors that change no output, see `Adapter.without_effect`.
        rewrites_base: attaching changes the base weights; tolerance: deviation of normalised features that
            attaching may cause (0: identity up to rounding);
            mergeable: can be folded into the base weights.
    """

    name: str
    config: str
    title: str
    paper: str
    remark: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    nested: tuple[str, str] | None = None
    targets: str = "both"
    kinds: tuple[str, ...] = ("mlp", "attention", "both")
    towers: str = "both"
    types: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Space] = field(default_factory=dict)
    without_effect: tuple[str, ...] = ()
    rewrites_base: bool = False
    tolerance: float = 0.0
    mergeable: bool = True


#: A shift of the keys adds one number to a query's scores with all keys: the softmax takes it away again.
_SHIFT_OF_KEYS = r"\.k_proj\."
_EVEN = Choice(2, 4, 8, 16, 32, 64)
_LORA = {"r": 8, "lora_alpha": 16}


def _lora(name: str, title: str, paper: str, remark: str = "", **more: Any) -> Method:
    return Method(name, "LoraConfig", title, paper, remark, defaults=_LORA, **more)


METHODS: dict[str, Method] = {
    "lora": _lora("LoRA", "low-rank updates B A of the weights", "Hu et al. 2021, arXiv 2106.09685"),
    "rslora": _lora(
        "RsLoRA",
        "LoRA scaled by alpha / sqrt(r), so that high ranks keep learning",
        "Kalajdzievski 2023, arXiv 2312.03732",
        fixed={"use_rslora": True},
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
        rewrites_base=True,
    ),
    "olora": _lora(
        "OLoRA",
        "LoRA that starts from an orthonormal factor of the weights",
        "Büyükakyüz 2024, arXiv 2406.01775",
        fixed={"init_lora_weights": "olora"},
        rewrites_base=True,
    ),
    "velora": _lora(
        "VeLoRA",
        "LoRA whose backward pass stores compressed activations",
        "Miles et al. 2024, arXiv 2405.17991",
        "Gradients are approximate.",
        nested=("velora_config", "VeloraConfig"),
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
    "oft": Method(
        "OFT",
        "OFTConfig",
        "rotations of the weights in blocks",
        "Qiu et al. 2023, arXiv 2306.07280",
        defaults={"oft_block_size": 16},
        hidden=("r",),
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
        space={"r": _EVEN},
    ),
    "psoft": Method(
        "PSOFT",
        "PsoftConfig",
        "rotations within the leading singular subspace",
        "openreview FSHrinMArK",
        defaults={"r": 16, "psoft_alpha": 16},
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
    ),
    "waveft": Method(
        "WaveFT",
        "WaveFTConfig",
        "a few coefficients of the update's wavelet transform",
        "Bilican et al. 2025, arXiv 2505.12532",
        defaults={"n_frequency": 1000},
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
    "osf": Method(
        "OSF",
        "OSFConfig",
        "all but the leading singular directions, which stay frozen: made for continual learning",
        "Nayak et al. 2025, arXiv 2504.07097",
    ),
    "gralora": Method(
        "GraLoRA",
        "GraloraConfig",
        "LoRA in blocks of the weight",
        "Jung et al. 2025, arXiv 2505.20355",
        defaults={"r": 8, "alpha": 16},
        space={"r": _EVEN},
    ),
    "hira": Method(
        "HiRA",
        "HiraConfig",
        "low-rank updates multiplied with the weights",
        "Huang et al. 2025, openreview TwJrTz9cRS",
        defaults={"r": 8},
    ),
    "tinylora": Method("TinyLoRA", "TinyLoraConfig", "a handful of numbers per layer", "arXiv 2602.04118"),
    "peanut": Method(
        "PEANuT",
        "PeanutConfig",
        "small networks of the weights as the update",
        "arXiv 2410.01870",
        defaults={"r": 8},
    ),
    "beft": Method(
        "BEFT", "BeftConfig", "the biases", "arXiv 2509.15974", without_effect=(_SHIFT_OF_KEYS + "beft_bias",)
    ),
    "lily": Method(
        "Lily",
        "LilyConfig",
        "low-rank factors shared between layers",
        "Zhong et al. 2024, arXiv 2407.09946",
        defaults={"r": 8},
        mergeable=False,
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
    "glora": Method(
        "GLoRA",
        "GloraConfig",
        "scales and shifts of weights and biases",
        "Chavan et al. 2023, arXiv 2306.07967",
        # E is one number for all outputs: where they are added to the residual stream, the mean that every
        # later layer norm takes away.
        without_effect=(_SHIFT_OF_KEYS + "glora_[CDE]", r"\.(out_proj|c_proj)\.glora_E"),
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

#: Methods of PEFT that we leave out, and why.
UNSUITABLE: dict[str, str] = {
    "adalora": "keeps the importance of ranks outside its state, so a resumed run differs",
    "monteclora": "keeps samples outside its state, so a resumed run differs and no teacher can be copied",
    "kasa": "truncates the base weights, even when it is switched off",
    "bdlora": "needs patterns of block-diagonal layers for tensor parallelism, which CLIP towers do not have",
    "poly": "needs a task id with every call of the model",
    "xlora": "needs a transformers model",
    "shadow": "needs a transformers model",
    "trainable_tokens": "rebuilds the whole token table at every step; pseudo-words enter by embed_text",
    "eva": "needs a pass over data before training; it is an initialisation of LoRA",
    "corda": "needs a pass over data before training, and rewrites the base",
    "prompt_tuning": "needs a transformers model; see the prompts of clplat",
}
