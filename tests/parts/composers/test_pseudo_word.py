"""Pseudo-words against a slow reference: the sentence by hand, its objectives, what is not computed."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.mechanisms.pseudo_words import Sentences, Template, joint_nce, symmetric_nce
from clplat.mechanisms.word_tasks import Tasks
from clplat.models.backbone import Backbone
from clplat.models.view import Towers
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.pseudo_word import PseudoWord
from clplat.parts.losses._base import NoLoss
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.transforms.captions_beside import CaptionsBeside
from clplat.randomness import seeded
from clplat.testing import ComposerContract, tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.tiny import nudge
from clplat.testing.towers import features as drawn
from clplat.training.step import reads_no_query
from strategies import Distill, Naive


def attached(**options: Any) -> PseudoWord:
    composer = PseudoWord(**{"hidden": 8, "dropout": 0.0, **options})
    with seeded(0, "composer"):
        composer.attach(Towers(tiny_backbone()))
    return composer


#: Each way to make words, small.
MAPPERS: dict[str, dict[str, Any]] = {
    "mlp": {"supplement": 0.5},
    "transformer": {"words": 2, "depth": 1},
    "vocabulary": {},
    "intent": {"depth": 1},
    "attributes": {"words": 2, "depth": 1, "template": "* with * but"},
    "neighbours": {"words": 3, "template": "a * that"},
    "inversion": {"steps": 2},
}


@pytest.mark.parametrize("mapper", MAPPERS)
class TestPseudoWord(ComposerContract):
    @pytest.fixture(autouse=True)
    def _mapper(self, mapper: str) -> None:
        self.mapper = mapper

    def make(self) -> PseudoWord:
        return PseudoWord(mapper=self.mapper, **{"hidden": 8, "inversion": 1.0, **MAPPERS[self.mapper]})


def test_the_sentence_reads_like_words() -> None:
    """With the embedding of a word in its place the template is a plain sentence."""
    backbone = tiny_backbone()
    word = backbone.embed_text(backbone.tokenize(["cat"]))[:, 1:2]
    template = Template(Towers(backbone), "a photo of * that")
    found = template.with_text(word.expand(2, -1, -1), backbone.tokenize(["is red", "runs"]))
    said = backbone.tokenize(["a photo of cat that is red", "a photo of cat that runs"])
    torch.testing.assert_close(found, backbone.text(said).pooled, atol=1e-5, rtol=1e-5)
    alone = backbone.text(backbone.tokenize(["a photo of cat"])).pooled
    torch.testing.assert_close(template.alone(word), alone, atol=1e-5, rtol=1e-5)


def test_sentences_are_read_with_words_at_any_place() -> None:
    backbone = tiny_backbone()
    reader, cat = Sentences(Towers(backbone)), backbone.embed_text(backbone.tokenize(["cat dog"]))[:, 1:3]
    said = ["a cat dog on cat dog", "cat dog", "runs"]
    found = reader(["a * on *", "*", "runs"], cat.expand(3, -1, -1))
    torch.testing.assert_close(found, backbone.text(backbone.tokenize(said)).pooled, atol=1e-5, rtol=1e-5)
    present = torch.tensor([[True, False], [False, True], [True, True]])
    said = ["a cat on cat", "dog", "one two three four five six seven eight nine cat"]
    long = "one two three four five six seven eight nine * ten"
    found = reader(["a * on *", "*", long], cat.expand(3, -1, -1), present)
    torch.testing.assert_close(found, backbone.text(backbone.tokenize(said)).pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("adapter", [None, LoRA(r=2, towers="text")], ids=["bare", "lora"])
def test_what_stands_before_the_word_is_run_once(adapter: Any) -> None:
    """The features and the gradients are those of all places run for every text."""
    backbone = tiny_backbone()
    if adapter is not None:
        adapter.attach(backbone)
        nudge(backbone, 0.05)
    towers, ids = Towers(backbone), backbone.tokenize(["is red", "runs far away"])
    template = Template(towers, "a photo of * that")
    word = torch.randn(2, 1, 48, generator=torch.Generator().manual_seed(0)).requires_grad_()
    blocks, places = backbone.model.transformer.resblocks, list[int]()
    blocks[0].mlp.register_forward_hook(lambda _, given, __: places.append(given[0][..., 0].numel()))
    found = template.with_text(word, ids)
    assert places == [4, 2 * 6], "SOS, a photo of; then the word, that, the text and EOT of both"
    alone = torch.cat([template.with_text(word[i : i + 1], ids[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
    learnt = [p for p in backbone.parameters() if p.requires_grad and p.dim() > 1][:4]
    grads = [torch.autograd.grad((rows**2).sum(), [word, *learnt]) for rows in (found, alone)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_words_that_are_not_there_leave_no_gap() -> None:
    backbone = tiny_backbone()
    word = backbone.embed_text(backbone.tokenize(["cat"]))[:, 1:2].expand(2, 4, -1)
    template = Template(Towers(backbone), "a * with * but", (1, 3))
    present = torch.tensor([[True, False, True, False], [True, True, True, True]])
    found = template.with_text(word, backbone.tokenize(["is red", "runs"]), present)
    said = backbone.tokenize(["a cat with cat but is red", "a cat with cat cat cat but runs"])
    torch.testing.assert_close(found, backbone.text(said).pooled, atol=1e-5, rtol=1e-5)
    alone = backbone.text(backbone.tokenize(["a cat with cat", "a cat with cat cat cat"])).pooled
    torch.testing.assert_close(template.alone(word, present), alone, atol=1e-5, rtol=1e-5)


def test_a_long_text_loses_words_but_never_its_end() -> None:
    backbone = tiny_backbone()  # 12 places: SOS, five of the sentence, five words, EOT
    word = backbone.embed_text(backbone.tokenize(["cat"]))[:, 1:2]
    template = Template(Towers(backbone), "a photo of * that")
    found = template.with_text(word, backbone.tokenize(["one two three four five six seven"]))
    said = backbone.tokenize(["a photo of cat that one two three four five"])
    torch.testing.assert_close(found, backbone.text(said).pooled, atol=1e-5, rtol=1e-5)
    assert backbone.truncated(["one two three four five"], template.places) == []
    assert backbone.truncated(["one two three four five six"], template.places) == [0]


def test_contrastive_loss_by_hand() -> None:
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(3, 4, generator=draw).double(), torch.randn(3, 4, generator=draw).double()
    a, b = normalize(left, dim=1).numpy(), normalize(right, dim=1).numpy()
    logits = 7.0 * a @ b.T
    rows = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    columns = np.exp(logits) / np.exp(logits).sum(0, keepdims=True)
    expected = -np.mean(np.log(np.diag(rows)) + np.log(np.diag(columns))) / 2
    found = symmetric_nce(left, right, ["a", "b", "c"], 7.0)
    np.testing.assert_allclose(float(found), expected, rtol=1e-9)
    twice = -(np.log(rows[[0, 0, 1, 1], [0, 1, 0, 1]]).sum() / 2 + np.log(rows[2, 2])) / 3
    other = -(np.log(columns[[0, 0, 1, 1], [0, 1, 0, 1]]).sum() / 2 + np.log(columns[2, 2])) / 3
    found = symmetric_nce(left, right, ["a", "a", "c"], 7.0)
    np.testing.assert_allclose(float(found), (twice + other) / 2, rtol=1e-9)


def test_the_joint_contrast_has_negatives_on_both_sides() -> None:
    """As the loop over all 2 B rows that SEARLE, RTD and FTI4CIR take from PALAVRA."""
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(3, 4, generator=draw).double(), torch.randn(3, 4, generator=draw).double()
    rows = normalize(torch.cat([left, right]), dim=1).numpy()
    each = np.exp(rows @ rows.T / 0.25)
    expected = [-np.log(each[i, (i + 3) % 6] / (each[i].sum() - each[i, i])) for i in range(6)]
    np.testing.assert_allclose(float(joint_nce(left, right, list("abc"), 4.0)), np.mean(expected), rtol=1e-9)
    twins = np.array([0, 0, 1, 0, 0, 1])  # the first two are one picture
    expected = []
    for i in range(6):
        others = [j for j in range(6) if j == (i + 3) % 6 or twins[j] != twins[i]]
        expected.append(-np.log(each[i, (i + 3) % 6] / each[i, others].sum()))
    np.testing.assert_allclose(float(joint_nce(left, right, list("aab"), 4.0)), np.mean(expected), rtol=1e-9)


def test_pic2words_objective_is_that_of_the_pictures_and_their_words() -> None:
    model = tiny_retriever(composer=attached(inversion=2.0)).train()
    batch = tiny_collate()(tiny_domains()[0].train[:6])
    outputs = model(batch)
    pooled = model.backbone.image(batch.reference).pooled
    vectors = model.composer.phi(pooled).unflatten(1, (1, -1))
    said = Template(model.towers, "a photo of *").with_text(vectors, model.backbone.tokenize([""] * 6))
    expected = 2.0 * symmetric_nce(said, pooled, batch.pictures.names[:6], outputs.scale)
    torch.testing.assert_close(outputs.terms["inversion"], expected)
    assert not model.eval()(batch).terms


def test_inverted_words_bring_the_sentence_near_its_picture_whatever_the_company() -> None:
    composer, (image, _) = attached(distil=1.0, steps=60), drawn(tiny_backbone(), rows=6)
    found = composer._inverted(image.keys, image.pooled)
    cosine = torch.cosine_similarity(composer._sentence.alone(found), image.pooled)
    fresh = torch.cosine_similarity(composer._sentence.alone(0.02 * torch.randn(6, 1, 48)), image.pooled)
    assert bool((cosine > fresh + 0.05).all())
    again = attached(distil=1.0, steps=60)._inverted(image.keys[3:4], image.pooled[3:4])
    assert torch.equal(again[0], found[3]), "a resumed run meets other pictures first"


def test_searles_objective_pulls_the_map_to_the_inverted_words() -> None:
    model = tiny_retriever(composer=attached(distil=1.0, steps=2)).train()
    batch = tiny_collate()(tiny_domains()[0].train[:6])
    outputs = model(batch)
    vectors = model.composer._seen[1].vectors.flatten(1)
    goal = model.composer._inverted(batch.pictures.names[:6], model.backbone.image(batch.reference).pooled)
    expected = joint_nce(vectors, goal.flatten(1), batch.pictures.names[:6], 4.0)
    torch.testing.assert_close(outputs.terms["distil"], expected)
    outputs.terms["distil"].backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.composer.phi.parameters())


def test_on_frozen_towers_there_is_no_unused_text_pass_and_no_live_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = tiny_retriever(composer=attached()).train(), tiny_collate()(tiny_domains()[0].train[:6])
    model.cache = features = FeatureCache(model.backbone, Store(None))
    passes: list[int] = []
    plain = Backbone.text_from_embeddings

    def counted(backbone: Backbone, x: Any, *wanted: Any, **options: Any) -> Any:
        passes.append(len(x))
        return plain(backbone, x, *wanted, **options)

    monkeypatch.setattr(Backbone, "text_from_embeddings", counted)
    for _ in range(2):
        model(batch).query.sum().backward()
    assert passes == [6, 6], "the sentence with its pseudo-words, once a step"
    report = features.report()
    assert report["text"]["asked"] == report["text"]["encoded"] == 0
    assert report["image"]["live"] == 0 and report["image"]["encoded"] == len(set(batch.pictures.names))


@pytest.mark.parametrize("mapper", ["intent", "attributes", "neighbours"])
def test_patches_and_neighbours_are_kept_to_the_bit(mapper: str) -> None:
    model = tiny_retriever(composer=attached(mapper=mapper, **MAPPERS[mapper])).eval()
    batch = tiny_collate()(tiny_domains()[0].train[:6])
    asked = batch.pictures.part(range(6)), batch.texts
    live = model.encode_queries(*asked)
    model.cache = FeatureCache(model.backbone, Store(None))
    made, kept = model.encode_queries(*asked), model.encode_queries(*asked)
    model.cache = FeatureCache(model.backbone, Store(None))
    again = model.encode_queries(*asked)
    assert torch.equal(kept, made) and torch.equal(again, made), "an empty store and a full one"
    torch.testing.assert_close(live, made, atol=1e-5, rtol=1e-5)  # the towers ran batches of other sizes


def test_a_query_that_nobody_reads_is_left_out_of_a_step() -> None:
    plain, batch = PseudoWord(hidden=8, inversion=1.0), tiny_collate()(tiny_domains()[0].train[:4])
    model = tiny_retriever(composer=plain).train()
    whole = model(batch)
    plain.unread = True
    found = model(batch)
    assert bool(found.query.isnan().all()) and not bool(whole.query.isnan().any())
    assert set(found.terms) == {"inversion"} and bool(found.terms["inversion"].isfinite())
    assert not bool(model.eval()(batch).query.isnan().any()), "at retrieval it is there"
    assert reads_no_query(NoLoss(), Naive()) and not reads_no_query(InfoNCE(), Naive())
    assert not reads_no_query(NoLoss(), Distill()), "its loss compares outputs"


def test_a_sentence_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(UserError, match="leaves no room"):
        attached(template="a very long sentence of many words about * that says")
    with pytest.raises(ValueError, match="must have one"):
        PseudoWord(template="a photo")


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="makes 3 words, not 1"):
        PseudoWord(mapper="neighbours")
    with pytest.raises(ValueError, match=r"tasks.language needs a mapper of mlp"):
        PseudoWord(mapper="intent", tasks=Tasks(language=1.0))
    with pytest.raises(ValueError, match="two \\* for the subject"):
        PseudoWord(mapper="attributes")
    model = tiny_retriever(composer=attached(tasks=Tasks(told=1.0))).train()
    with pytest.raises(UserError, match="--transform captions_beside"):
        model(tiny_collate()(tiny_domains()[0].train[:3]))


def test_captions_train_the_map_as_long_as_it_is_trained_and_triplets_the_text_tower() -> None:
    tasks = Tasks(language=1.0, triplets=2.0, told=1.0, phrases=0.5, noise=0.1, orthogonal=1.0)
    model = tiny_retriever(composer=attached(tasks=tasks, words=2)).train()
    collate = copy(tiny_collate())
    collate.transform = CaptionsBeside()
    batch = collate(tiny_domains()[0].train[:4])
    terms = model(batch).terms
    assert set(terms) == {"language", "triplets", "told", "phrases", "orthogonal"}
    phi = list(model.composer.phi.parameters())
    for name in ("language", "told", "phrases", "orthogonal"):
        assert all(bool(g.any()) for g in torch.autograd.grad(terms[name], phi, retain_graph=True)), name
    assert not terms["triplets"].requires_grad, "the text tower is frozen here"
    model.composer.requires_grad_(False)
    learnt = model.backbone.model.transformer.resblocks[0].mlp.c_fc.weight.requires_grad_()
    terms = model(batch).terms
    assert set(terms) == {"triplets", "told"}
    assert bool(torch.autograd.grad(terms["triplets"], learnt)[0].any())
