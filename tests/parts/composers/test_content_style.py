"""CoSMo's two modulators against their formulas in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clplat.models.view import Towers
from clplat.parts.composers.content_style import ContentStyle
from clplat.testing import tiny_backbone
from clplat.testing.towers import features


def softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def test_the_formula_by_hand() -> None:
    torch.manual_seed(0)
    composer = ContentStyle(heads=2)
    composer.attach(Towers(tiny_backbone()))
    torch.nn.init.normal_(composer.weights)
    image, text = features(tiny_backbone(), rows=2, scale=1.0)
    found = composer(image, text).detach().numpy()
    w: Any = {name: p.detach().double().numpy() for name, p in composer.named_parameters()}
    projection = tiny_backbone().model.visual.proj.detach().double().numpy()

    def line(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    for row in range(2):
        x, t = image.tokens[row].double().numpy() @ projection, text.pooled[row].double().numpy()
        mean, spread = x.mean(0), x.std(0)
        y = (x - mean) / np.sqrt(spread**2 + 1e-5)
        for i in range(2):
            name = f"content.{i}"
            values = line(
                line(np.concatenate([y, np.tile(t, (len(y), 1))], 1), f"{name}.merge"), f"{name}.value"
            )
            parts = []
            for head in (slice(0, 12), slice(12, 24)):
                q, k = line(y, f"{name}.query")[:, head], line(y, f"{name}.key")[:, head]
                said = softmax(y[:, head] @ line(t, f"{name}.text")[head] / np.sqrt(12))
                parts.append((softmax(q @ k.T / np.sqrt(12)) + said) @ values[:, head])
            y = y + w["weights"][i] * line(np.concatenate(parts, 1), f"{name}.out")
        gate, style = 1 / (1 + np.exp(-line(t, "gate"))), line(t, "style")
        styled = (gate[:24] * spread + style[:24]) * y + gate[24:] * mean + style[24:]
        np.testing.assert_allclose(found[row], styled.mean(0), atol=1e-4)
    assert torch.equal(composer.style.bias, torch.cat([torch.ones(24), torch.zeros(24)]))
