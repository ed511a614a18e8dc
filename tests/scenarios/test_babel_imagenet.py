"""Babel-ImageNet: the classes that a language has, in its words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clplat.config.recipes import recipe
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.testing import ScenarioContract, twins
from scenarios.babel_imagenet import BabelImagenet


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(twins.babel_imagenet(tmp_path_factory.mktemp("babel")))


class TestBabelImagenet(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> BabelImagenet:
        return BabelImagenet(self.root, ["DE", "SW"], prompts="prompts.json")


def test_a_language_has_its_classes_and_prompts_even_of_one_name(root: str) -> None:
    german, swahili = BabelImagenet(root, ["DE", "SW"], prompts="prompts.json").build()[0]
    assert german.test.gallery.items[0].said == (
        "ein Foto von Schleie.",
        "ein Bild von Schleie.",
    )
    assert [item.text for item in swahili.test.gallery.items][1:] == ["picha ya paka.", "picha ya paka."]
    wanted = {"n01443537": "imagenet/SW/1", "n02123045": "imagenet/SW/2", "n02123159": "imagenet/SW/3"}
    assert {(q.id.split("/")[-2], q.targets[0]) for q in swahili.test.queries} == set(wanted.items())
    assert len(german.sets["test/all"].gallery.items) == 6
    assert BabelImagenet(root, ["SW"]).build()[0][0].test.gallery.items[0].text == "samaki wa dhahabu"


def test_the_published_stream_and_what_is_not_there(root: str, tmp_path: Path) -> None:
    twins.babel_imagenet(tmp_path)
    config = dict(recipe("babel_imagenet").config["scenario"]) | {"root": str(tmp_path)}
    labels = {language: [[0, 3], ["a", "b"]] for language in config["languages"]}
    (tmp_path / "babel_imagenet-298.json").write_text(json.dumps(labels), encoding="utf-8")
    scenario = resolve({"scenario": config}).make("scenario")
    assert [domain.name for domain in scenario.build()[0]] == config["languages"]
    [said], counts = scenario.remarks, scenario.report["counts"]
    assert f"classes 4 of 1,000, languages {counts['languages']} of 298, test {counts['test']} of" in said
    with pytest.raises(UserError, match="unknown language 'DD'; did you mean"):
        BabelImagenet(root, ["DD"]).build()
    with pytest.raises(UserError, match=r"no such file: .*nothing\.json"):
        BabelImagenet(root, ["DE"], labels="nothing.json").build()
