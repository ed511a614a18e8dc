"""transformers' ``SiglipModel`` as open_clip's: configuration, then weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clplat.errors import UserError
from clplat.models.hugging_face.blocks import activation, blocks, mlp_ratio, norm
from clplat.models.hugging_face.held import Held
from clplat.models.hugging_face.siglip_tower import tower_name

__all__ = ["DEFAULTS", "PREPROCESSOR", "model_cfg", "weights"]

_TOWER = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
#: What a config.json leaves out, as transformers fills it in.
DEFAULTS: dict[str, Any] = {
    "text_config": {**_TOWER, "vocab_size": 32000, "max_position_embeddings": 64},
    "vision_config": {
        **_TOWER,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 16,
        "vision_use_head": True,
    },
}
PREPROCESSOR: dict[str, Any] = {
    "size": {"height": 224, "width": 224},
    "resample": 3,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def model_cfg(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """open_clip's configuration of the same model; its image tower is timm's (`siglip_tower`).

    Raises:
        UserError: towers that do not meet in one space, or have no head.
    """
    text, vision = config["text_config"], config["vision_config"]
    width = text.get("projection_size") or text["hidden_size"]
    if width != vision["hidden_size"] or not vision["vision_use_head"]:
        raise UserError(
            f"{where}: the text tower ends {width} wide, the image tower {vision['hidden_size']}, "
            f"vision_use_head is {vision['vision_use_head']}; equal widths and a head are allowed"
        )
    return {
        "embed_dim": width,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "timm_model_name": tower_name(vision),
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "layers": text["num_hidden_layers"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "mlp_ratio": mlp_ratio(text),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            **norm(text),
            **activation(text, where),
        },
    }


def weights(held: Held, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors under open_clip's names; the bias of the logits moves all scores alike, and is left out."""
    text = config["text_config"]
    held.take("logit_bias")
    found = {
        "logit_scale": held.take("logit_scale").reshape(()),
        "text.token_embedding.weight": held.take("text_model.embeddings.token_embedding.weight"),
        "text.positional_embedding": held.take("text_model.embeddings.position_embedding.weight"),
    }
    found |= held.layers("text_model", "text", {"final_layer_norm": "ln_final", "head": "text_projection"})
    found |= blocks(held, "text_model", "text.", text["num_hidden_layers"])
    return found | _image_tower(held, config["vision_config"])


def _image_tower(held: Held, vision: Mapping[str, Any]) -> dict[str, Tensor]:
    theirs, ours = "vision_model", "visual.trunk"
    found = held.layers(
        theirs, ours, {"embeddings.patch_embedding": "patch_embed.proj", "post_layernorm": "norm"}
    )
    found[f"{ours}.pos_embed"] = held.take(f"{theirs}.embeddings.position_embedding.weight").unsqueeze(0)
    inside = {
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "self_attn.out_proj": "attn.proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    for i in range(vision["num_hidden_layers"]):
        layer = f"{theirs}.encoder.layers.{i}"
        found |= held.layers(layer, f"{ours}.blocks.{i}", inside)
        attention = [f"{layer}.self_attn.{name}_proj" for name in "qkv"]
        for part in ("weight", "bias"):
            found[f"{ours}.blocks.{i}.attn.qkv.{part}"] = held.joined(attention, part)
    return found | _pooling_head(held, f"{theirs}.head", f"{ours}.attn_pool", int(vision["hidden_size"]))


def _pooling_head(held: Held, theirs: str, ours: str, width: int) -> dict[str, Tensor]:
    names = {"attention.out_proj": "proj", "layernorm": "norm", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    found = {f"{ours}.latent": held.take(f"{theirs}.probe"), **held.layers(theirs, ours, names)}
    for part in ("weight", "bias"):
        fused = held.take(f"{theirs}.attention.in_proj_{part}")
        found[f"{ours}.q.{part}"], found[f"{ours}.kv.{part}"] = fused[:width], fused[width:]
    return found
