"""Queries and galleries of any kind, further sets and hidden labels, through the evaluator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.data.records import Domain, Gallery, Item, Protocol, Query
from clplat.errors import UserError
from clplat.evaluation.asked import asked, measure
from clplat.evaluation.evaluator import Evaluator
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.text_only import TextOnly
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever


def evaluator(domains: list[Domain], split: str = "test") -> tuple[Evaluator, Any]:
    model = tiny_retriever().eval()
    composers = {"own": model.composer, "image_only": ImageOnly(), "text_only": TextOnly()}
    collate = tiny_collate()
    held = Evaluator(
        domains,
        [],
        split=split,
        pictures=collate.pixels.images,
        tokenize=collate.tokenize,
        composers=composers,
        batch_size=5,
    )
    return held, model


def changed(domain: Domain, **changes: Any) -> Domain:
    return replace(domain, test=replace(domain.test, **changes))


def test_the_texts_of_a_query_are_embedded_each_and_their_unit_rows_averaged() -> None:
    [domain] = tiny_domains(1)
    asked_for = domain.test.queries[0]
    several = replace(asked_for, texts=("make it dark", "darker"))
    held, model = evaluator([domain])
    found = held.queries(model, [asked_for, several])
    rows = held.queries(model, [replace(asked_for, text=text) for text in several.said])
    for who in ("own", "image_only", "text_only"):
        torch.testing.assert_close(found[who][1], normalize(rows[who].mean(0), dim=0))
    torch.testing.assert_close(found["own"][0], rows["own"][0])


def test_the_texts_of_a_gallery_item_are_embedded_each_and_their_unit_rows_averaged() -> None:
    [domain] = tiny_domains(1)
    held, model = evaluator([domain])
    shown = domain.test.gallery.pictures[0]
    dog, both = (
        Item("dog", text="a dog", texts=("one dog",)),
        Item("x", shown, "darker", texts=("make it dark",)),
    )
    found = held.embed.items(model, [dog, Item("cat", text="a cat"), both, Item.of(shown)])
    for row, item in ((0, dog), (2, both)):
        rows = held.embed.items(model, [Item("one", item.picture, text) for text in item.said])
        torch.testing.assert_close(found[row], normalize(rows.mean(0), dim=0))
    torch.testing.assert_close(found[1], held.texts(model, ["a cat"])[0])
    torch.testing.assert_close(found[3], held.images(model, [shown])[0])
    with pytest.raises(ValueError, match="item 'dog' has further texts and no first one"):
        Item("dog", shown, texts=("a dog",))


def test_pictures_alone_and_words_alone_stand_in_the_order_of_the_queries() -> None:
    [domain] = tiny_domains(1)
    one, two, three = domain.test.queries[:3]
    mixed = [replace(one, text=None), two, replace(three, reference=None), replace(two, text=None)]
    held, model = evaluator([domain])
    found = held.queries(model, mixed)
    assert list(found) == ["own"], "blind baselines need both"
    expected = [
        held.images(model, [one.reference])[0],
        held.queries(model, [two])["own"][0],
        held.texts(model, [three.text])[0],
        held.images(model, [two.reference])[0],
    ]
    torch.testing.assert_close(found["own"], torch.stack(expected))


def test_galleries_of_texts_of_both_and_baselines_where_both_are_present() -> None:
    first, second = tiny_domains(2)
    colours = ("red", "green", "blue", "yellow", "purple", "gray")
    prompts = Gallery("prompts", [Item(colour, text=f"a {colour} square") for colour in colours])
    queries = tuple(
        Query(str(i), q.reference, None, (colour,))
        for i, (q, colour) in enumerate(zip(first.test.queries, colours, strict=True))
    )
    pictured = [Item(f"both/{p.key}", p, p.caption) for p in second.test.gallery.pictures]
    mixed = Gallery("mixed", [*pictured[:6], *second.test.gallery.pictures[6:], "a red square"])
    keys = {item.key for item in mixed.items}
    answers = [
        replace(q, targets=tuple(f"both/{k}" if k not in keys else k for k in q.targets))
        for q in second.test.queries
    ]
    domains = [
        changed(first, queries=queries, gallery=prompts),
        changed(second, queries=tuple(answers), gallery=mixed),
    ]
    held, model = evaluator(domains)
    row = held.row(model)
    assert len(row.galleries["prompts"]) == 6 and len(row.galleries["mixed"]) == 13
    torch.testing.assert_close(row.galleries["prompts"], held.texts(model, [i.text for i in prompts.items]))
    assert row.baselines["text_only"]["R@1"][0] is None and row.baselines["text_only"]["R@1"][1] is not None
    assert row.metrics["R@1"] == [
        100 * value for value in (float((row.ranks[d.name] < 1).double().mean()) for d in domains)
    ]


def test_own_candidates_exclusions_and_the_main_answer_through_the_evaluator() -> None:
    [domain] = tiny_domains(1)
    keys = [item.key for item in domain.test.gallery.items]
    queries = tuple(
        replace(
            q,
            candidates=tuple(dict.fromkeys([q.targets[1], *keys[i : i + 4], q.reference.key])),
            exclude=tuple(key for key in keys[:2] if key not in q.targets),
            main=q.targets[1],
        )
        for i, q in enumerate(domain.test.queries)
    )
    metrics = ("R@1", "R_sub@1", "R_sub@2", "R_main@5", "mAP_sub@3", "MRR_main")
    protocol = Protocol("p", metrics=metrics, primary="mean(R@1, R_sub@1)")
    held, model = evaluator([changed(domain, queries=queries, protocol=protocol)])
    row = held.row(model)
    assert list(row.metrics) == [*metrics, "mean(R@1, R_sub@1)"]
    scores = row.queries[domain.name] @ row.galleries[domain.test.gallery.name].T
    expected: dict[str, list[float]] = {name: [] for name in metrics}
    for query, own in zip(queries, scores, strict=True):
        order = [keys[i] for i in own.argsort(descending=True, stable=True)]
        order = [key for key in order if key not in (query.reference.key, *query.exclude)]
        subset = [key for key in order if key in query.candidates]
        right = set(query.targets)
        best, among = (min(map(where.index, right & set(where))) for where in (order, subset))
        hits = [key in query.targets for key in subset[:3]]
        expected["R@1"].append(best < 1)
        expected["R_sub@1"].append(among < 1)
        expected["R_sub@2"].append(among < 2)
        expected["R_main@5"].append(order.index(query.main) < 5)
        precision = sum(sum(hits[: i + 1]) / (i + 1) for i in range(len(hits)) if hits[i])
        expected["mAP_sub@3"].append(precision / min(3, len(right & set(subset))))
        expected["MRR_main"].append(1 / (1 + order.index(query.main)))
    found = {name: row.metrics[name][0] for name in metrics}
    assert found == pytest.approx({name: 100 * sum(v) / len(v) for name, v in expected.items()})
    assert row.metrics[protocol.primary][0] == pytest.approx((found["R@1"] + found["R_sub@1"]) / 2)
    both = torch.tensor([expected["R@1"], expected["R_sub@1"]]).double().mean(0)
    assert torch.equal(row.values[domain.name], both.float()), "values are those of the primary metric"
    assert held.cross_version(row.queries, row.galleries) == pytest.approx(
        {name: column[0] for name, column in row.metrics.items()}
    )


def test_further_sets_are_measured_and_hidden_ones_only_listed() -> None:
    first, second = tiny_domains(2)
    union = replace(first.test, protocol=Protocol("other", exclude_reference=False, ks=(1,), primary="R@1"))
    hidden = replace(
        first.test, labels="hidden", queries=tuple(replace(q, targets=()) for q in first.test.queries)
    )
    domains = [
        Domain(first.name, first.train, sets={"val": first.val, "test": hidden, "val/union": union}),
        Domain(second.name, second.train, sets={"val": second.val, "test": second.test}),
    ]
    held, model = evaluator(domains, "val")
    assert list(held.further) == ["test", "val/union"]
    row = held.row(model)
    assert set(row.lists) == {"val", "test", "val/union"} and set(row.lists["test"]) == {first.name}
    assert row.sets["test"].metrics == {} and row.sets["test"].ties == [None, None]
    [value, nothing] = row.sets["val/union"].metrics["R@1"]
    queries = held.queries(model, union.queries)["own"]
    found = measure(union, asked(union), queries, held.embed.items(model, union.gallery.items)).values
    assert value == 100 * found["R@1"].mean().item() and nothing is None
    assert list(row.metrics) == [m.name for m in first.val.protocol.measured]
    with pytest.raises(UserError, match=r"hides the labels of 'test'; choose --evaluation\.split val"):
        evaluator(domains, "test")
    with pytest.raises(UserError, match=r"'d' has no set 'val'; choose --evaluation\.split test"):
        evaluator([Domain("d", first.train, sets={"test": first.test})], "val")


def test_domains_of_different_protocols_share_a_table() -> None:
    first, second = tiny_domains(2)
    one = changed(first, protocol=Protocol("a", metrics=("R@1", "MRR"), primary="MRR"))
    two = changed(second, protocol=Protocol("b", metrics=("R@2", "R@1"), primary="mean(R@1, R@2)"))
    held, model = evaluator([one, two])
    assert held.primary == "primary"
    row = held.row(model)
    assert row.metrics["MRR"][1] is None and row.metrics["R@2"][0] is None
    assert row.metrics["primary"] == [row.metrics["MRR"][0], row.metrics["mean(R@1, R@2)"][1]]
    cell = held.cross_version(row.queries, row.galleries)
    assert cell["MRR"] == row.metrics["MRR"][0]
    assert cell["primary"] == pytest.approx(sum(v for v in row.metrics["primary"] if v is not None) / 2)
