"""Attention to sets against plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clplat.mechanisms.attention import Decoder, cells, weighted_mean

DRAW: Any = np.random.default_rng(0)


def test_members_are_averaged_and_not_their_scores() -> None:
    query, members = DRAW.normal(size=(2, 5)), DRAW.normal(size=(2, 3, 5)) * 4
    found = weighted_mean(torch.from_numpy(query), torch.from_numpy(members), 0.1).numpy()
    for q, rows, got in zip(query, members, found, strict=True):
        cosines = rows @ q / np.linalg.norm(rows, axis=1) / np.linalg.norm(q)
        shares = np.exp(cosines / 0.1) / np.exp(cosines / 0.1).sum()
        np.testing.assert_allclose(got, shares @ rows, atol=1e-10)


def test_cells_are_means_of_their_patches() -> None:
    patches = DRAW.normal(size=(1, 36, 2))
    found = cells(torch.from_numpy(patches), 3).numpy()[0]
    square = patches[0].reshape(6, 6, 2)
    for cell in range(9):
        row, column = 2 * (cell // 3), 2 * (cell % 3)
        np.testing.assert_allclose(found[cell], square[row : row + 2, column : column + 2].mean((0, 1)))
    assert torch.equal(cells(torch.from_numpy(patches), 7), torch.from_numpy(patches))


def test_the_decoder_by_hand() -> None:
    torch.manual_seed(0)
    decoder = Decoder(6, 10, width=8, heads=1, depth=1).double().eval()
    asked, held = torch.randn(4, 6).double(), torch.randn(5, 10).double()
    w: Any = {name: p.detach().numpy() for name, p in decoder.named_parameters()}

    def line(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return y * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attend(x: Any, y: Any, name: str, seen: int) -> Any:
        q, k, v = (
            z @ a.T + b
            for z, a, b in zip(
                (x, y, y),
                np.split(w[f"{name}.in_proj_weight"], 3),
                np.split(w[f"{name}.in_proj_bias"], 3),
                strict=True,
            )
        )
        scores = np.exp(q @ k[:seen].T / np.sqrt(8))
        return line(scores / scores.sum(1, keepdims=True) @ v[:seen], f"{name}.out_proj")

    x, layer = line(norm(asked.numpy(), "asked.0"), "asked.1"), "layers.0"
    y = norm(line(norm(held.numpy(), "held.0"), "held.1"), "held.2")
    z = norm(x, f"{layer}.norms.0")
    x = x + attend(z, z, f"{layer}.own", 3)  # the last query is none
    x = x + attend(norm(x, f"{layer}.norms.1"), y, f"{layer}.other", 5)
    hidden = torch.nn.functional.gelu(
        torch.from_numpy(line(norm(x, f"{layer}.norms.2"), f"{layer}.mlp.0"))
    ).numpy()
    x = line(norm(x + line(hidden, f"{layer}.mlp.3"), "out.0"), "out.1")
    found = decoder(asked[None], held[None], torch.tensor([[False, False, False, True]]))[0]
    np.testing.assert_allclose(found[:3].detach().numpy(), x[:3], atol=1e-10)
