"""The gated residual against the formulas of its systems in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.parts.composers.gated import Gated

R, T = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def drawn(**options: Any) -> tuple[Gated, dict[str, Any]]:
    composer = Gated(start="random", **options)
    torch.manual_seed(0)
    composer.build(4)
    for buffer in composer.buffers():
        if buffer.is_floating_point():  # a batch norm that has seen something
            buffer.copy_(torch.rand(buffer.shape) + 0.5)
    held = {name: t.detach().double().numpy() for name, t in composer.state_dict().items()}
    return composer.eval(), held


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def batch_norm(x: Any, w: dict[str, Any], name: str) -> Any:
    x = (x - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def line(x: Any, w: dict[str, Any], name: str) -> Any:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def test_tirg() -> None:
    composer, w = drawn(base="image", norm="batch", layers=(1, 2), weights=(1.0, 10.0))
    r, both = R.double().numpy(), torch.cat([R, T], 1).double().numpy()
    gate = line(np.maximum(batch_norm(both, w, "block.gate.0"), 0), w, "block.gate.2")
    hidden = np.maximum(
        line(np.maximum(batch_norm(both, w, "block.residual.0"), 0), w, "block.residual.2"), 0
    )
    expected = r / (1 + np.exp(-gate)) + 10 * line(hidden, w, "block.residual.4")
    np.testing.assert_allclose(composer(R, T).detach().numpy(), unit(expected), atol=1e-5)


def test_regada() -> None:
    composer, w = drawn(base="text", norm="batch", layers=(2, 2), leaky=True, dropout=0.6)
    t, both = T.double().numpy(), torch.cat([R, T], 1).double().numpy()

    def made(name: str) -> Any:
        hidden = line(batch_norm(both, w, f"block.{name}.0"), w, f"block.{name}.1")
        return line(np.where(hidden > 0, hidden, 0.2 * hidden), w, f"block.{name}.4")

    expected = t / (1 + np.exp(-made("gate"))) + made("residual")
    np.testing.assert_allclose(composer(R, T).detach().numpy(), unit(expected), atol=1e-5)


def test_film_scales_and_shifts_by_a_mixture_that_training_draws() -> None:
    composer, w = drawn(base="image", sees="mixture", gate="linear", norm="none", layers=(1, 1), mix=0.25)
    r, t = R.double().numpy(), T.double().numpy()

    def film(share: Any) -> Any:
        seen = share * t + (1 - share) * r
        return unit(line(seen, w, "block.gate.0") * r + line(seen, w, "block.residual.0"))

    np.testing.assert_allclose(composer(R, T).detach().numpy(), film(0.25), atol=1e-5)
    torch.manual_seed(3)
    share = torch.rand(5, 1).double().numpy()
    torch.manual_seed(3)
    np.testing.assert_allclose(composer.train()(R, T).detach().numpy(), film(share), atol=1e-5)


@pytest.mark.parametrize("gate", ["sigmoid", "linear"])
def test_it_starts_as_what_passes(gate: Any) -> None:
    composer = Gated(base="sum", gate=gate)
    composer.build(4)
    sum_ = torch.nn.functional.normalize(R, dim=1) + torch.nn.functional.normalize(T, dim=1)
    assert torch.allclose(composer.eval()(R, T), torch.nn.functional.normalize(sum_, dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": "both"}, "allowed: image, text, sum"),
        ({"layers": (0, 1)}, "two numbers"),
        ({"mix": 2.0}, "mix"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Gated(**options)
