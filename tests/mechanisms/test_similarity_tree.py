"""The tree of domains by hand, and a search that finds the nearest one."""

from __future__ import annotations

import math

import torch

from clplat.mechanisms.similarity_tree import Node, SimilarityTree, divided


def test_layers_divide_domains_at_the_median_one_after_the_other() -> None:
    # Products with the mean of layer 0, 1.25: 5, 1.25, -1.25, 0; their (lower) median is 0.
    first, second = [4.0, 1.0, -1.0, 1e-9], [1.0, -1.0, 2.0, 5.0]
    moves = [[torch.tensor([a]), torch.tensor([b])] for a, b in zip(first, second, strict=True)]
    tree = divided(moves, range(4))
    assert [half.domains for half in tree.halves or ()] == [(0, 1, 3), (2,)]
    # Layer 1 of domains 0, 1, 3, of mean 5/3: 1, -1 and 5; those at or above 1 are one half.
    assert [half.domains for half in tree.half_of(3).halves or ()] == [(0, 3), (1,)]
    assert tree.half_of(2) == Node((2,)) and tree.half_of(0).half_of(3).domains == (0, 3)
    same = divided([[torch.ones(2)]] * 3, range(3))
    assert [half.domains for half in same.halves or ()] == [(0,), (1, 2)]


def test_domains_are_divided_by_what_they_moved_since_the_one_before() -> None:
    tree = SimilarityTree()
    for value in (1.0, 3.0, 2.5):  # moves of 1, 2 and -0.5
        tree.add([torch.tensor([value])])
    assert [half.domains for half in tree.root.halves or ()] == [(0, 1), (2,)]


def test_the_search_looks_at_the_lowest_bound() -> None:
    tree = SimilarityTree()
    for value in (0.0, 1.0):
        tree.add([torch.full((3,), value)])
    assert tree.search() == [0]
    assert tree.search() == [0], "looking changes nothing"
    tree.measured([0], [torch.full((3,), 0.9)])
    assert tree.search() == [1], "nothing is known of the other"
    tree.measured([1], [torch.full((3,), 0.9)])
    wide = math.sqrt(math.log(2 * 3 * 4) / 2)
    bounds = [2.7 - wide, 0.3 - wide]
    assert tree.search() == [bounds.index(min(bounds))] == [1]


def test_it_settles_on_the_domain_that_is_nearest_in_each_layer() -> None:
    tree, layers = SimilarityTree(), 2
    centres = torch.tensor([[0.0, 9.0], [5.0, 0.0], [9.0, 5.0]])  # of each domain, in each layer
    for domain in range(3):
        tree.add([torch.full((20,), float(centres[domain, layer])) for layer in range(layers)])
    counts = torch.zeros(3)
    for _ in range(60):
        chosen = tree.search()
        tree.measured(chosen, [torch.full((20,), 4.5) for _ in range(layers)])
        counts[chosen[0]] += 1
    assert counts.tolist() == [1, 58, 1]
    again = SimilarityTree()
    again.load_state_dict(tree.state_dict())
    assert again.search() == tree.search()
    tree.forget()
    assert tree.search()[0] == 0 and len(tree.seen) == 3
