"""Parts inside parts, several parts in one slot, groups of options: configured like everything else."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clplat import registry, scan
from clplat.config.annotations import slot_in
from clplat.config.help import help_asked_for, help_on
from clplat.config.parse import parse_arguments
from clplat.config.raw import merge, unflatten
from clplat.config.resolve import command_of, completed, resolve, spaces
from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.kinds import KINDS, Kind
from clplat.naming import flat, label, run_name
from clplat.parts.composers.sum import Sum
from clplat.runs.run_folder import default_folder
from clplat.tuning.spaces import tuned_spaces
from strategies import EWC, Replay

PARTS = '''
"""Parts that take parts."""
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Annotated, Any
from torch import Tensor
from clplat.config.space import Float, Int
from clplat.parts.composers._base import Composer
from clplat.training.strategy import Strategy


class Shifted(Composer):
    """A composer whose result is scaled.

    Args:
        inner: what is scaled.
        by: how much.
    """
    def __init__(self, inner: Composer | None = None, by: Annotated[float, Float(0.1, 2.0)] = 1.0) -> None:
        super().__init__()
        self.inner, self.by = inner, by
    def forward(self, image: Any, text: Any) -> Tensor:
        return self.by * self.inner(image, text)


class Needy(Composer):
    """A composer that must be told what it wraps.

    Args:
        base: what it wraps.
    """
    def __init__(self, base: Composer) -> None:
        super().__init__()
        self.base = base


@dataclass(frozen=True)
class Store:
    """What is kept.

    Args:
        size: examples.
        names: of what.
        seed: of the draws.
    """
    size: Annotated[int, Int(1, 10)] = 5
    names: list[str] = field(default_factory=lambda: ["a"])
    seed: int | None = None
    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")


class Team(Strategy):
    """Several strategies, and a store.

    Args:
        parts: the strategies.
        store: what it keeps.
        seed: of all.
    """
    def __init__(self, parts: list[Strategy], store: Store = Store(size=7), seed: int | None = None) -> None:
        self.parts, self.store, self.seed = parts, store, seed


class Both:
    """Two gadgets.

    Args:
        parts: the gadgets.
        weights: of each.
    """
    def __init__(self, parts: list[Any], weights: list[float] | None = None) -> None:
        self.parts, self.weights = parts, weights
        if weights is not None and len(weights) != len(parts):
            raise ValueError(f"{len(parts)} parts have {len(weights)} weights")


class Cut:
    """Cuts.

    Args:
        at: where.
    """
    def __init__(self, at: Annotated[int, Int(1, 9)] = 3) -> None:
        self.at = at


class Bend:
    """Bends.

    Args:
        at: where.
    """
    def __init__(self, at: int = 1) -> None:
        self.at = at
'''
SHIFTED, TEAM = "clplat_inner_parts:Shifted", "clplat_inner_parts:Team"
CUT, BEND = "clplat_inner_parts:Cut", "clplat_inner_parts:Bend"


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "clplat_inner_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    many = Kind("gadget", "gadgets", "none", optional=True, many="clplat_inner_parts:Both")
    monkeypatch.setitem(KINDS, "gadget", many)
    for cached in (scan.scanned, registry.places):
        cached.cache_clear()
    yield
    sys.modules.pop("clplat_inner_parts", None)
    for cached in (scan.scanned, registry.places):
        cached.cache_clear()


def complaint(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(parse_arguments(words))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_everywhere(raw: dict[str, Any], folder: Path) -> Any:
    """One configuration, whichever way it is written down and read again."""
    config = resolve(raw)
    plain = config.as_dict()
    (folder / "mine.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    assert resolve(parse_arguments(["--config", str(folder / "mine.yaml")])) == config
    assert resolve(parse_arguments(shlex.split(command_of(config))[2:])) == config
    assert resolve(plain) == config and completed(plain) == plain
    assert (
        resolve({key: value for key, value in flat(plain).items() if key not in KINDS} | config.names)
        == config
    )
    return config


def test_a_part_inside_a_part_is_an_option_with_options(tmp_path: Path) -> None:
    raw = {"composer": SHIFTED, "composer.inner": "slerp", "composer.inner.alpha": 0.25, "composer.by": 2}
    config = same_everywhere(raw, tmp_path)
    made = config.make("composer")
    assert (type(made.inner).__name__, made.inner.alpha, made.by) == ("Slerp", 0.25, 2.0)
    assert config.option("composer.inner") == "slerp" and config.option("composer.inner.alpha") == 0.25
    written = {"composer": {"name": SHIFTED, "inner": {"name": "slerp", "alpha": 0.25}, "by": 2.0}}
    assert resolve(written) == config and config.as_dict()["composer"] == written["composer"]
    words = ["--composer.inner.alpha", "0.25", "--composer", SHIFTED, "--composer.inner", "slerp"]
    assert resolve(parse_arguments([*words, "--composer.by", "2"])) == config
    assert flat(config.as_dict())["composer.inner.alpha"] == 0.25
    assert "--composer.inner slerp --composer.inner.alpha 0.25" in command_of(config)


def test_an_empty_slot_inside_is_none(tmp_path: Path) -> None:
    config = same_everywhere({"composer": SHIFTED}, tmp_path)
    for empty in ("none", None, {"name": "none"}):
        assert resolve({"composer": {"name": SHIFTED, "inner": empty}}) == config
    assert config.option("composer.inner") is None and config.make("composer").inner is None


def test_parts_go_as_deep_as_they_are_written(tmp_path: Path) -> None:
    inner = {"name": SHIFTED, "by": 0.5, "inner": {"name": "sum", "weight": 0.75}}
    config = same_everywhere({"composer": {"name": SHIFTED, "inner": inner}}, tmp_path)
    assert config.make("composer").inner.inner.weight == 0.75
    assert config.option("composer.inner.inner.weight") == 0.75
    found = spaces(config)
    assert isinstance(found["composer.inner.by"], Float) and "composer.inner.inner.weight" in found
    assert set(tuned_spaces(config, ["composer.inner.inner"], {})) == {"composer.inner.inner.weight"}
    drawn = merge(config.as_dict(), {"composer.inner.inner.weight": 0.5})
    assert resolve(drawn).make("composer").inner.inner.weight == 0.5


def test_what_lies_above_keeps_the_options_of_the_part_that_stays() -> None:
    below = {"composer": {"name": SHIFTED, "inner": {"name": "slerp", "alpha": 0.25}}}
    assert resolve(merge(below, {"composer.by": 2})).option("composer.inner.alpha") == 0.25
    assert resolve(merge(below, {"composer.inner.alpha": 0.5})).option("composer.inner.alpha") == 0.5
    assert resolve(merge(below, {"composer.inner": "slerp"})).option("composer.inner.alpha") == 0.25
    other = resolve(merge(below, {"composer.inner": "sum"}))
    assert (
        other.option("composer.inner") == "sum"
        and "alpha" not in other.parts["composer"].options["inner"].options
    )
    short = {"composer": {"name": SHIFTED, "inner": "slerp"}}
    assert resolve(merge(short, {"composer.inner.alpha": 0.5})).option("composer.inner.alpha") == 0.5
    assert resolve(merge(below, {"composer.inner": "none"})).make("composer").inner is None
    group = {"strategy": {"name": "orthogonal_lora", "lora": {"r": 2, "alpha": 3.0}}}
    assert resolve(merge(group, {"strategy.lora.r": 4})).option("strategy.lora.alpha") == 3.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--composer.inner slrep", ["unknown composer 'slrep'", "did you mean 'slerp'"]),
        ("--composer.innr slerp", ["'composer.innr' of composer", "did you mean 'composer.inner'"]),
        (
            "--composer.inner slerp --composer.inner.alhpa 1",
            [
                "unknown option 'composer.inner.alhpa' of composer 'slerp'",
                "did you mean 'composer.inner.alpha'",
            ],
        ),
        ("--composer.inner slerp --composer.alpha 1", ["'composer.alpha' of composer", "allowed: inner, by"]),
        (
            "--composer.inner slerp --composer.inner.alpha x",
            ["'composer.inner.alpha' takes a number, not 'x'"],
        ),
        (
            "--composer.inner slerp --composer.inner.alpha 7",
            ["composer.inner 'slerp': the text share 'alpha' must", "not 7.0"],
        ),
        ("--composer.inner 3", ["unknown composer '3'"]),
        ("--composer.inner sum,slerp", ["'composer.inner' takes one part, not 'sum,slerp'"]),
        ("--composer clplat_inner_parts:Needy", ["needs --composer.base: what it wraps."]),
        ("--composer clplat_inner_parts:Needy --composer.base none", ["unknown composer 'none'"]),
    ],
)
def test_a_mistake_inside_is_one_line_that_names_it(words: str, said: list[str]) -> None:
    given = words if words.startswith("--composer ") else f"--composer {SHIFTED} {words}"
    for part in said:
        assert part in complaint(*given.split())


def test_help_goes_inside_too() -> None:
    text = help_on("composer", SHIFTED)
    assert "--composer.inner  the name of a composer or none (default: null)\n    what is scaled." in text
    assert "--composer.inner.help NAME" in text
    assert "--composer.inner.alpha  a number" in help_on("composer.inner", "slerp", {"composer": SHIFTED})
    words = ["--composer", SHIFTED, "--composer.inner", "slerp", "--composer.inner.help"]
    assert "--composer.inner.alpha" in str(help_asked_for(words))
    assert "slerp" in str(help_asked_for(["--composer", SHIFTED, "--composer.inner.help"]))
    with pytest.raises(UserError, match=r"no help on 'composer.iner'; did you mean 'inner'"):
        help_on("composer.iner", "", {"composer": SHIFTED})


def test_an_argument_of_several_parts_is_handed_their_list(tmp_path: Path) -> None:
    raw = {
        "strategy": TEAM,
        "strategy.parts": "ewc,replay",
        "strategy.parts.ewc.lam": 5,
        "strategy.seed": None,
    }
    config = same_everywhere({**raw, "seed": 9}, tmp_path)
    made = config.make("strategy")
    assert [type(part) for part in made.parts] == [EWC, Replay]
    assert made.parts[0].lam == 5.0 and made.parts[1].seed == 9 == made.seed
    listed = [{"name": "ewc", "lam": 5}, "replay"]
    assert resolve({"strategy": {"name": TEAM, "parts": listed}, "seed": 9}) == config
    assert {"strategy.parts.ewc.lam", "strategy.parts.replay.size"} <= set(spaces(config))
    one = same_everywhere({"strategy": TEAM, "strategy.parts": "ewc", "strategy.parts.lam": 5}, tmp_path)
    assert [part.lam for part in one.make("strategy").parts] == [5.0]


def test_a_group_of_options_is_declared_once_and_opened_everywhere(tmp_path: Path) -> None:
    raw = {"strategy": TEAM, "strategy.parts": "naive", "strategy.store.names": "[b, c]"}
    config = same_everywhere(raw, tmp_path)
    store = config.make("strategy").store
    assert (store.size, store.names, store.seed) == (7, ["b", "c"], 0), "its default is that of the argument"
    assert config.option("strategy.store.size") == 7
    assert config.as_dict()["strategy"]["store"] == {"size": 7, "names": ["b", "c"], "seed": None}
    assert spaces(config)["strategy.store.size"] == Int(1, 10)
    given = {"--strategy": TEAM, "--strategy.parts": "naive"}
    words = [word for pair in given.items() for word in pair]
    assert "did you mean 'strategy.store.size'" in complaint(*words, "--strategy.store.sise", "3")
    assert "'strategy.store.size' takes a whole number" in complaint(*words, "--strategy.store.size", "x")
    assert "strategy.store: size must be at least 1, not 0" in complaint(*words, "--strategy.store.size", "0")
    assert "'strategy.store' takes options of its own" in complaint(*words, "--strategy.store", "3")
    assert '--strategy.store.names  a list of texts (default: ["a"])' in help_on("strategy", TEAM)


def test_several_parts_in_one_slot(tmp_path: Path) -> None:
    both = f"{CUT},{BEND}"
    raw = {"gadget": both, "gadget.Cut.at": 4, "gadget.weights": [1, 0.5]}
    config = same_everywhere(raw, tmp_path)
    made = config.make("gadget")
    assert [type(part).__name__ for part in made.parts] == ["Cut", "Bend"]
    assert [part.at for part in made.parts] == [4, 1] and made.weights == [1.0, 0.5]
    written = [{"name": CUT, "at": 4}, BEND]
    assert resolve({"gadget": written, "gadget.weights": [1, 0.5]}) == config
    assert config.name("gadget") == both and config.option("gadget.Bend.at") == 1
    assert config.as_dict()["gadget"] == {
        "name": both,
        "Cut": {"at": 4},
        "Bend": {"at": 1},
        "weights": [1.0, 0.5],
    }
    assert spaces(config)["gadget.Cut.at"] == Int(1, 9)
    assert resolve(merge(raw, {"gadget.Cut.at": 5})).option("gadget.Cut.at") == 5
    spaced = resolve({**raw, "gadget": f"{CUT}, {BEND}"})
    assert spaced == config


def test_one_part_alone_is_what_it_was() -> None:
    config = resolve({"gadget": CUT, "gadget.at": 4})
    assert config.as_dict()["gadget"] == {"name": CUT, "at": 4}
    assert resolve({"gadget": [{"name": CUT, "at": 4}]}) == config
    assert type(config.make("gadget")).__name__ == "Cut"
    assert resolve({}).make("gadget") is None and "gadget" not in resolve({}).as_dict()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"{CUT},{CUT}", ["names 'Cut' twice"]),
        (f"{CUT},none", ["takes names of gadgets, or none alone"]),
        (f"{CUT},{BEND} --gadget.at 3", ["'gadget.at' of gadget", "did you mean 'gadget.Cut.at'", "Bend.at"]),
        (f"{CUT},{BEND} --gadget.Cut 3", ["'gadget.Cut' takes options of its own"]),
        (f"{CUT},{BEND} --gadget.weights [1]", ["gadget '", "2 parts have 1 weights"]),
    ],
)
def test_a_mistake_with_several_is_one_line(words: str, said: list[str]) -> None:
    for part in said:
        assert part in complaint("--gadget", *words.split())
    assert "'composer' takes one part, not 'sum,slerp'" in complaint("--composer", "sum,slerp")


def test_names_of_runs_and_folders() -> None:
    both = resolve({"gadget": f"{CUT},{BEND}"})
    assert label(both.as_dict()) == f"naive {CUT}+{BEND}"
    assert "," not in default_folder(both).name and "Cut+" in default_folder(both).name
    several = {"name": "ewc,replay", "ewc": {"lam": 5.0}, "replay": {"size": 100}}
    assert run_name({"strategy": several}) == "ewc+replay s0"
    nested = resolve({"strategy": TEAM, "strategy.parts": "ewc,replay"})
    assert label(nested.as_dict()) == f"{TEAM}(ewc+replay)"


def test_dotted_keys_and_mappings_meet_in_any_order() -> None:
    ways: list[dict[str, Any]] = [
        {"composer.inner.alpha": 1, "composer.inner": "slerp", "composer": SHIFTED},
        {"composer": {"name": SHIFTED, "inner": "slerp"}, "composer.inner.alpha": 1},
        {"composer": {"name": SHIFTED, "inner": {"alpha": 1}}, "composer.inner": "slerp"},
    ]
    expected = {"composer": {"name": SHIFTED, "inner": {"name": "slerp", "alpha": 1}}}
    assert all(unflatten(way) == expected for way in ways)
    assert unflatten({"scenario.words": {"real": "photo"}}) == {"scenario": {"words": {"real": "photo"}}}


def test_from_python_one_passes_the_object() -> None:
    from clplat_inner_parts import Shifted  # type: ignore[import-not-found]

    assert Shifted(Sum(), by=2.0).inner.weight == Sum().weight
    assert slot_in(list[int]) is None and slot_in(dict[str, str] | None) is None
