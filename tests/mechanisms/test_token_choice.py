"""Outlying patches, windows, merging and tiles against loops."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.token_choice import best_window, merged_tokens, outlying, scales_in_one, tiles, trimmed
from clplat.randomness import generator

DRAW = generator(0, "tokens")
TOKENS = torch.randn(2, 16, 6, generator=DRAW)


def test_patches_stand_out_by_the_interquartile_rule_and_one_always_does() -> None:
    similar = torch.tensor(
        [[0.1, 0.1, 0.12, 0.11, 0.9, 0.1, 0.13, 0.8], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]]
    )
    for row, got in zip(similar.double().numpy(), outlying(similar), strict=True):
        low, high = np.quantile(row, [0.25, 0.75])
        assert got.tolist() == [bool(v > high + 1.5 * (high - low) or v == row.max()) for v in row]


def test_what_a_text_is_not_about_becomes_one_token() -> None:
    text = torch.randn(2, 6, generator=DRAW)
    kept, counts = trimmed(TOKENS, text, whiskers=0.0)
    for i in range(2):
        cosines = normalize(TOKENS[i], dim=1) @ normalize(text[i], dim=0)
        there = outlying(cosines[None], 0.0)[0]
        assert int(counts[i]) == int(there.sum()) + 1
        assert torch.equal(kept[i, : int(there.sum())], TOKENS[i][there])
        assert torch.allclose(kept[i, -1], TOKENS[i][~there].mean(0), atol=1e-6)


def test_the_window_is_the_one_most_like_the_whole() -> None:
    whole = torch.randn(2, 6, generator=DRAW)
    got = best_window(TOKENS, whole, side=2)
    for i in range(2):
        grid = (normalize(TOKENS[i], dim=1) @ normalize(whole[i], dim=0)).view(4, 4)
        means = {(r, c): float(grid[r : r + 2, c : c + 2].mean()) for r in range(3) for c in range(3)}
        assert tuple(got[i].tolist()) == max(means, key=lambda place: means[place])


def test_merging_keeps_the_sum_of_what_is_merged() -> None:
    twice = TOKENS[0].repeat_interleave(2, 0)  # every token has a twin beside it
    merged = merged_tokens(twice, 16)
    assert torch.allclose(merged.sum(0), TOKENS[0].sum(0), atol=1e-4), "twins became one"
    assert merged_tokens(TOKENS[0], 3).shape == (3, 6)


def test_tiles_of_scales_are_put_back_where_they_were() -> None:
    pixels = torch.arange(2 * 16, dtype=torch.float32).view(1, 2, 4, 4)
    assert torch.equal(tiles(pixels, 1), pixels) and tiles(pixels, 2).shape == (4, 2, 4, 4)

    # A tower of four patches (2 x 2 pixels each) that says the mean of each channel.
    def tower(some: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(some, 2).flatten(2).transpose(1, 2)

    found = scales_in_one([tower(tiles(pixels, 1)), tower(tiles(pixels, 2))])
    assert found.shape == (1, 4, 4)
    assert torch.equal(found[..., :2], tower(pixels))
    large = torch.nn.functional.interpolate(pixels, scale_factor=2, mode="bicubic")
    expected = torch.nn.functional.avg_pool2d(large, 4).flatten(2).transpose(1, 2)
    assert torch.allclose(found[..., 2:], expected, atol=1e-5), "area-pooled from the larger grid"
