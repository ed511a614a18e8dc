"""Metrics by name, formulas, and what a protocol refuses."""

from __future__ import annotations

from typing import Any

import pytest

from clplat.data.fingerprint import stream_fingerprint
from clplat.data.records import Domain, Gallery, Item, Metric, Protocol, Query, RetrievalSet
from clplat.measures import describe


def test_without_metrics_a_protocol_measures_what_its_cut_offs_say() -> None:
    names = [metric.name for metric in Protocol("p", ks=(1, 5)).measured]
    assert names == ["R@1", "R@5", "mAP@1", "mAP@5", "MRR"]


def test_formulas_are_spelled_one_way() -> None:
    one = Protocol("p", metrics=("R@10", "R@50"), primary="mean(R@10,R@50)")
    assert one.primary == "mean(R@10, R@50)"
    assert one == Protocol("p", metrics=(Metric("R@10"), Metric("R@50")), primary=" mean( R@10 , R@50 ) ")
    assert describe(one.primary).unit == describe("R_sub@3").unit == describe("MRR_main").unit == "percent"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metrics": ("P@5",)}, "unknown metric 'P@5' .allowed: R@K, mAP@K, MRR;"),
        ({"metrics": ("R",)}, "unknown metric 'R'"),
        ({"metrics": ("MRR@5",)}, "unknown metric 'MRR@5'"),
        (
            {"primary": "R@7"},
            r"'p' does not measure its primary metric 'R@7' \(it measures: R@1, R@5, R@10, ",
        ),
        ({"primary": "mean(R@1, R@7)"}, "'R@7'"),
        ({"primary": "max(R@1, R@5)"}, "unknown metric"),
        ({"tie_rule": "luck"}, r"unknown tie rule 'luck' \(allowed: index, against\)"),
    ],
)
def test_what_is_no_protocol_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol("p", **given)


def domain(**protocol: Any) -> Domain:
    gallery = Gallery("g", ["a", "b", Item("c", text="see")])
    asked = (Query("q", None, "one", ("c",)),)
    return Domain("d", sets={"test": RetrievalSet(asked, gallery, Protocol("p", **protocol))})


def test_metrics_and_tie_rule_are_in_the_fingerprint_and_their_defaults_are_not() -> None:
    plain = stream_fingerprint([domain()])
    assert plain == stream_fingerprint([domain(metrics=(), tie_rule="index")])
    others = [domain(tie_rule="against"), domain(metrics=("R@5",)), domain(metrics=("R@5", "R_main@1"))]
    assert len({plain, *(stream_fingerprint([one]) for one in others)}) == 4


def test_sets_by_name_and_what_is_looked_at_beside_a_split() -> None:
    one = domain().sets["test"]
    hidden = RetrievalSet((Query("q", None, "one", ()),), one.gallery, one.protocol, labels="hidden")
    held = Domain("d", sets={"union": one, "test/union": one, "val": one, "val/union": one, "test": hidden})
    assert list(held.sets) == ["val", "test", "union", "test/union", "val/union"]
    assert list(held.beside("val")) == ["test", "union", "val/union"], "hidden sets are ranked anyway"
    assert list(held.beside("test")) == ["union", "test/union"]
    assert Domain("d", (), one, one) == Domain("d", sets={"test": one, "val": one})
    with pytest.raises(ValueError, match=r"domain 'd' has no set 'val' \(it has: test\)"):
        _ = domain().val
    assert stream_fingerprint([domain()]) != stream_fingerprint(
        [Domain("d", sets={**domain().sets, "union": one})]
    )
