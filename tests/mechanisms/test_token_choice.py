"""Outlying patches, windows, merging and tiles against loops."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.token_choice import box_of_best, merged_tokens, outlying, scales_in_one, tiles, trimmed
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


def test_the_box_holds_the_patches_most_like_the_whole() -> None:
    whole = torch.randn(2, 6, generator=DRAW)
    got = box_of_best(TOKENS, whole, count=3)
    for i in range(2):
        cosines = (normalize(TOKENS[i].double(), dim=1) @ normalize(whole[i].double(), dim=0)).tolist()
        best = [divmod(place, 4) for place in sorted(range(16), key=lambda n: -cosines[n])[:3]]
        (top, left), (bottom, right) = ([f(place[k] for place in best) for k in (0, 1)] for f in (min, max))
        assert got[i].tolist() == [top, left, bottom + 1, right + 1], "the last row and column belong to it"


def test_merging_keeps_the_sum_of_what_is_merged() -> None:
    twice = TOKENS.repeat_interleave(2, 1)  # every token has a twin beside it
    merged = merged_tokens(twice, 16)
    assert torch.allclose(merged.sum(1), TOKENS.sum(1), atol=1e-4), "twins became one"
    assert merged_tokens(TOKENS, 3).shape == (2, 3, 6)


def test_a_merged_token_is_the_mean_of_its_patches_picture_by_picture() -> None:
    for picture, got in zip(TOKENS.double(), merged_tokens(TOKENS, 5), strict=True):
        groups = [[i] for i in range(16)]
        while len(groups) > 5:
            means = [picture[group].mean(0) for group in groups]
            pairs = []
            for i in range(0, len(groups), 2):
                cosines = {
                    j: float(normalize(means[i], dim=0) @ normalize(means[j], dim=0))
                    for j in range(1, len(groups), 2)
                }
                j = max(cosines, key=lambda j: cosines[j])
                pairs.append((-cosines[j], i, j))
            joined = {i: j for _, i, j in sorted(pairs)[: min(len(groups) // 2, len(groups) - 5)]}
            into = {
                j: [k for i, goal in joined.items() if goal == j for k in groups[i]]
                for j in range(1, len(groups), 2)
            }
            left = [groups[i] for i in range(0, len(groups), 2) if i not in joined]
            groups = left + [groups[j] + more for j, more in into.items()]
        assert torch.allclose(
            got.double(), torch.stack([picture[group].mean(0) for group in groups]), atol=1e-5
        )


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
