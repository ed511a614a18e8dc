"""transformers' ``CLIPModel`` as open_clip's: configuration, then weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clplat.models.hugging_face.blocks import activation, blocks, mlp_ratio, norm
from clplat.models.hugging_face.held import Held

__all__ = ["DEFAULTS", "PREPROCESSOR", "model_cfg", "weights"]

#: What a config.json leaves out, as transformers fills it in.
DEFAULTS: dict[str, Any] = {
    "projection_dim": 512,
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "eos_token_id": 49407,
    },
    "vision_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
}
PREPROCESSOR: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def model_cfg(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """open_clip's configuration of the same model.

    Raises:
        UserError: an activation that open_clip does not have, or that it has in both towers alone.
    """
    text, vision = config["text_config"], config["vision_config"]
    quick = text["hidden_act"] == vision["hidden_act"] == "quick_gelu"
    return {
        "embed_dim": config["projection_dim"],
        **({"quick_gelu": True} if quick else {}),
        "vision_cfg": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "mlp_ratio": mlp_ratio(vision),
            **norm(vision),
            **({} if quick else activation(vision, where)),
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "layers": text["num_hidden_layers"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "mlp_ratio": mlp_ratio(text),
            **norm(text),
            **_pooling(text),
            **({} if quick else activation(text, where)),
        },
    }


def _pooling(text: Mapping[str, Any]) -> dict[str, Any]:
    """Where a text ends: at its largest id; at a named one, where words were added behind that."""
    end = text["eos_token_id"]
    # transformers once wrote 2 into every configuration, and takes the largest id where it reads that.
    return {} if end in (2, text["vocab_size"] - 1) else {"pool_type": "eos", "eos_id": end}


def weights(held: Held, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors under open_clip's names."""
    text, vision = config["text_config"], config["vision_config"]
    found = {
        "logit_scale": held.take("logit_scale").reshape(()),
        "visual.class_embedding": held.take("vision_model.embeddings.class_embedding").flatten(),
        "visual.conv1.weight": held.take("vision_model.embeddings.patch_embedding.weight"),
        "visual.positional_embedding": held.take("vision_model.embeddings.position_embedding.weight"),
        "visual.proj": held.take("visual_projection.weight").T,
        "token_embedding.weight": held.take("text_model.embeddings.token_embedding.weight"),
        "positional_embedding": held.take("text_model.embeddings.position_embedding.weight"),
        "text_projection": held.take("text_projection.weight").T,
    }
    found |= held.layers("vision_model", "visual", {"pre_layrnorm": "ln_pre", "post_layernorm": "ln_post"})
    found |= held.layer("text_model.final_layer_norm", "ln_final")
    found |= blocks(held, "vision_model", "visual.", vision["num_hidden_layers"])
    return found | blocks(held, "text_model", "", text["num_hidden_layers"])
