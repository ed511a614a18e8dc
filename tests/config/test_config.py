"""Configurations: names, types, files, overrides, and that every way of writing one gives the same."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clplat import registry
from clplat.config.annotations import slot_in
from clplat.config.help import help_on
from clplat.config.options import arguments, coerce, describe_type
from clplat.config.parse import parse_arguments
from clplat.config.raw import merge, read_config
from clplat.config.resolve import command_of, resolve, spaces
from clplat.config.resolved import Part
from clplat.config.slots import options_of
from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.kinds import KINDS


def complaint(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(parse_arguments(words))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "given", "meant"),
    [
        (int, "3", 3),
        (float, "1e-3", 0.001),
        (float, 3, 3.0),
        (bool, "true", True),
        (str, "3", "3"),
        (str, "null", "null"),
        (str | None, "null", None),
        (str | None, "#1", "#1"),
        (str | None, "a: b", "a: b"),
        (float | None, "null", None),
        (Literal["a", "b"], "b", "b"),
        (list[str], "[a, b c]", ["a", "b c"]),
        (list[str] | None, ["a"], ["a"]),
        (int | list[str], "[a]", ["a"]),
        (tuple[int, ...], "[1, 2]", [1, 2]),
        (dict[str, str], "{real: a photo}", {"real": "a photo"}),
        (Literal["mlp"] | Sequence[str], "[visual.proj]", ["visual.proj"]),
        (int, "-4", -4),
        (int, "010", 10),
        (int | None, "~", None),
        (str | None, "~", "~"),
        (str | None, "", ""),
        (str | None, "1:30", "1:30"),
        (str | None, "1e-3", "1e-3"),
        (float, 10**20, 1e20),
        (int | float, "1e1", 10.0),
        (Literal["on", "off"], "off", "off"),
        (list[float], "[1e-3, 2]", [0.001, 2.0]),
        (list[int], ["1", 2], [1, 2]),
        (list[str], "[2026-01-02]", ["2026-01-02"]),
        (list[str], "[1:30]", ["1:30"]),
        (list[str], ["1", "null"], ["1", "null"]),
        (dict[str, float], {"a": "1e-3"}, {"a": 0.001}),
        (dict[str, str], {1: "a"}, {"1": "a"}),
        (Annotated[float, Float(0, 1)], "1", 1.0),
    ],
)
def test_a_text_or_a_value_becomes_what_its_type_says(kind: Any, given: Any, meant: Any) -> None:
    found = coerce(kind, given)
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("kind", "given", "allowed"),
    [
        (int, "x", "a whole number"),
        (int, 2.5, "a whole number"),
        (int, "1e3", "a whole number"),
        (int, True, "a whole number"),
        (int, None, "a whole number"),
        (int, "null", "a whole number"),
        (float, "fast", "a number"),
        (float, "nan", "a number"),
        (float, ".nan", "a number that is finite"),
        (float, "1e999", "a number that is finite"),
        (bool, "maybe", "true or false"),
        (str, 3, "a text"),
        (Literal["a", "b"], "c", "one of a, b"),
        (list[str], "a", "a list of texts"),
        (list[str] | None, "#", "a list of texts or null"),
        (dict[str, str], "a", "a mapping of texts to texts"),
        (int | list[str], "x", "a whole number or a list of texts"),
        (float | None, "x", "a number or null"),
        (int, "1.0", "a whole number"),
        (float, True, "a number"),
        (float, "true", "a number"),
        (bool, 1, "true or false"),
        (bool, "1", "true or false"),
        (int | None, "", "a whole number or null"),
        (int | None, "#1", "a whole number or null"),
        (int, "[", "a whole number"),
        (list[str], [1], "a list of texts"),
        (list[str], "[1]", "a list of texts"),
        (list[float], "[.inf]", "a list of numbers that is finite"),
        (tuple[int, int], [1], "a list of whole numbers"),
        (int, object, "a whole number"),
        (threading.Thread, "x", "threading.Thread"),
    ],
)
def test_a_wrong_value_is_reported_with_what_is_allowed(kind: Any, given: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match="takes") as caught:
        coerce(kind, given)
    assert str(caught.value).startswith(f"takes {allowed}")
    assert str(given if given is not None else "null") in str(caught.value)


def test_a_message_shows_no_endless_value() -> None:
    with pytest.raises(ValueError) as caught:
        coerce(int, "9x" * 500)
    assert len(str(caught.value)) < 120


# -- names and options ------------------------------------------------------------------------


def test_every_default_is_filled_in() -> None:
    config = resolve({})
    assert config.names == {slot: kind.default for slot, kind in KINDS.items()}
    assert config.option("train.epochs") == 4 and config.seed == 0 and config.device == "cpu"
    always = {slot for slot, kind in KINDS.items() if kind.always}
    assert set(config.as_dict()) == {*always, "train", "data", "evaluation", "seed", "device", "features"}


def test_names_mappings_and_dotted_keys_mean_the_same() -> None:
    ways: list[dict[str, Any]] = [
        {"strategy": "replay", "strategy.size": 50},
        {"strategy": {"name": "replay", "size": 50}},
        {"strategy.name": "replay", "strategy": {"size": "50"}},
    ]
    first, *others = [resolve(way) for way in ways]
    assert first.option("strategy.size") == 50
    assert all(other == first for other in others)


def test_resolving_twice_changes_nothing() -> None:
    config = resolve(
        {"strategy": "replay", "scenario.order": ["top-sketch", "dress-studio"], "scenario.domains": 2}
    )
    assert resolve(config) is config
    assert resolve(config.as_dict()) == config


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--strategy", "repaly"], ["unknown strategy 'repaly'", "did you mean 'replay'", "reorganize"]),
        (["--scenario", "catalog"], ["unknown scenario 'catalog'", "did you mean 'catalogue'"]),
        (["--adapter", "lra"], ["unknown adapter 'lra'", "lora"]),
        (
            ["--strategy", "replay", "--strategy.siz", "3"],
            ["'strategy.siz' of strategy 'replay'", "did you mean 'strategy.size'", "policy"],
        ),
        (["--strategy.size", "3"], ["unknown option 'strategy.size' of strategy 'naive'", "allowed: none"]),
        (["--trian.lr", "3"], ["unknown option 'trian.lr'", "did you mean 'train.lr'"]),
        (["--lr", "3"], ["unknown option 'lr'", "did you mean 'train.lr'"]),
        (["--stratgy", "ewc"], ["unknown option 'stratgy'", "did you mean 'strategy'"]),
        (["--evaluation.splt", "val"], ["evaluation.splt", "did you mean 'evaluation.split'"]),
        (["--strategy", "replay", "--strategy.size", "x"], ["'strategy.size' takes a whole number", "'x'"]),
        (["--train.optimizer", "adamax"], ["'train.optimizer' takes one of adamw, adam, sgd", "adamax"]),
        (["--train", "3"], ["'train' takes options of its own", "--train.epochs"]),
        (["--seed", "one"], ["option 'seed' takes a whole number", "one"]),
        (["--train.lr", ".inf"], ["'train.lr' takes a number that is finite"]),
        (["--scenario", "domain_folders"], ["needs --scenario.root"]),
        (["--evaluation.anchors", "0"], ["evaluation: anchors must be at least 1, not 0"]),
        (["--scenario.domains", "99"], ["domains must be 1 to 36, not 99"]),
        (["--strategy", "replay", "--strategy.size", "0"], ["at least one example", "0"]),
        (
            ["--strategy", "lora_per_domain", "--adapter", "full"],
            ["lora_per_domain", "adapter 'full'", "none"],
        ),
        (["--strategy", "lora_per_domain", "--prompt", "context"], ["lora_per_domain", "prompt 'context'"]),
        (["--loss", "similarity_distillation"], ["loss 'similarity_distillation' cannot", "info_nce"]),
        (["replay"], ["unexpected word 'replay'"]),
        (["--strategy"], ["'--strategy' needs a value"]),
        (["--strategy", "--seed", "3"], ["'--strategy' needs a value", "--strategy=VALUE"]),
        (["--seed", "1", "--seed", "2"], ["'--seed' is given twice: 1 and 2"]),
        (["--config", "/no/such.yaml"], ["/no/such.yaml", "No such file"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(words: list[str], parts: list[str]) -> None:
    said = complaint(*words)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("--train.epochs 0", "epochs"),
        ("--train.batch_size 1", "batch_size"),
        ("--train.lr -0.1", "lr"),
        ("--train.head_lr -0.1", "head_lr"),
        ("--train.warmup 2", "warmup"),
        ("--train.clip 0", "clip"),
        ("--train.workers -1", "workers"),
        ("--strategy patch --strategy.alpha 7", "alpha"),
        ("--strategy ewc --strategy.lam -1", "lam"),
        ("--strategy replay --strategy.batch_size 0", "batch_size"),
        ("--strategy lora_per_domain --strategy.r 0", "r"),
        ("--composer sum --composer.weight 7", "weight"),
        ("--projection ridge --projection.alpha -1", "alpha"),
        ("--evaluation.batch_size 0", "batch_size"),
    ],
)
def test_a_value_out_of_range_is_reported_before_anything_runs(words: str, name: str) -> None:
    *_, value = words.split()
    said = complaint(*words.split())
    assert name in said and value in said


def test_an_option_of_the_command_itself_is_offered_too() -> None:
    with pytest.raises(UserError, match="did you mean '--no-track'"):
        parse_arguments(["--no-trak", "3"], also=["--out", "--no-track"])


def test_lora_per_domain_brings_its_own_adapters() -> None:
    assert resolve({"strategy": "lora_per_domain"}).parts["adapter"] == Part("none", {})
    assert resolve({"strategy": "naive"}).name("adapter") == "full"


@pytest.mark.parametrize("text", ["--scenario.order=[top-sketch, dress-studio]", "--scenario.order"])
def test_lists_and_null_on_the_command_line(text: str) -> None:
    words = [text] if "=" in text else [text, "[top-sketch,dress-studio]"]
    config = resolve(parse_arguments([*words, "--scenario.domains", "2", "--train.clip", "null"]))
    assert config.option("scenario.order") == ["top-sketch", "dress-studio"]
    assert config.option("train.clip") is None


def test_negative_numbers_and_values_that_begin_with_dashes() -> None:
    words = [
        "--seed",
        "-1",
        "--scenario",
        "domain_folders",
        "--scenario.root=--x",
    ]
    config = resolve(parse_arguments(words))
    assert config.seed == -1
    assert config.option("scenario.root") == "--x"


# -- files ------------------------------------------------------------------------------------


def test_the_command_line_lies_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text("about: a note\nstrategy: {name: replay, size: 50}\ntrain.lr: 1e-4\nseed: 7\n")
    config = resolve(
        parse_arguments(["--strategy.weight", "2", "--config", str(file), "--train.epochs", "1"])
    )
    assert config.option("strategy.size") == 50 and config.option("strategy.weight") == 2.0
    assert config.option("train.lr") == 1e-4 and config.option("train.epochs") == 1 and config.seed == 7
    other = resolve(parse_arguments(["--config", str(file), "--strategy", "agem"]))
    assert other.option("strategy.size") == 200, "options of another strategy are forgotten"
    same = resolve(parse_arguments(["--config", str(file), "--strategy", "replay"]))
    assert same.option("strategy.size") == 50


def test_a_later_file_lies_over_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("strategy: {name: replay, size: 50}\nseed: 1\n")
    (tmp_path / "b.yaml").write_text("strategy: {size: 60}\n")
    words = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    config = resolve(parse_arguments(words))
    assert config.option("strategy.size") == 60 and config.seed == 1


def test_options_without_a_name_belong_to_whichever_part_comes() -> None:
    raw = merge({"strategy": {"size": 50}}, {"strategy": {"name": "agem"}})
    assert resolve(raw).option("strategy.size") == 50


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("strategy: [", "not valid YAML"),
        ("- strategy", "list, not a mapping"),
        ("strategy: 3", "takes the name of a part, not 3"),
        ("strategy: {nam: ewc}", "strategy.nam"),
        ("stratgy: ewc", "did you mean 'strategy'"),
        ("train: 3", "'train' takes options of its own"),
        ("seed: {a: 1}", "'seed' takes a whole number"),
        ("scenario: {name: catalogue, order: 3}", "'scenario.order' takes a list of texts or null, not 3"),
        ("scenario: {name: catalogue, order: 'a,b'}", "not 'a,b'; as a list: [a,b]"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: str, part: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    assert part in complaint("--config", str(file))


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert resolve(read_config(file)) == resolve({})


# -- all parts --------------------------------------------------------------------------------


EVERY_PART = [
    (slot, name)
    for slot, entry in KINDS.items()
    if entry.plural
    for name in registry.names(entry.plural)
    # A loss that wants a teacher is refused on its own, see above.
    if "teacher" not in getattr(registry.load(entry.plural, name), "wants", ())
]


@pytest.mark.parametrize(("slot", "name"), EVERY_PART)
def test_every_part_survives_yaml_and_its_own_command(slot: str, name: str, tmp_path: Path) -> None:
    raw: dict[str, Any] = {slot: name, **_required({slot: name})}
    try:
        config = resolve(raw)
    except UserError as error:  # it reads files at once; ours is refused in one line
        assert re.fullmatch(rf"{slot} '{name}': there is no (file|folder) x", str(error)), error
        pytest.skip("needs files of its own")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
    assert resolve(parse_arguments(["--config", str(file)])) == config
    assert resolve(parse_arguments(shlex.split(command_of(config))[2:])) == config
    assert len(command_of(config)) < 120, "the shortest command names only what is not default"


@pytest.mark.parametrize(("slot", "name"), EVERY_PART)
def test_every_option_has_a_type_in_words_and_a_default_of_that_type(slot: str, name: str) -> None:
    for key, option in options_of(slot, name).items():
        assert not describe_type(option.type).startswith("<"), key
        if not option.required:
            assert coerce(option.type, option.default) == option.default, key


@pytest.mark.parametrize("slot", [*KINDS, "train", "data", "evaluation"])
def test_help_tells_every_option(slot: str) -> None:
    name = {"scenario": "domain_folders", "strategy": "replay", "adapter": "lora", "prompt": "deep"}.get(
        slot, ""
    )
    name = name or (KINDS[slot].default if slot in KINDS else "")
    text = help_on(slot, name)
    for key, option in options_of(slot, name).items():
        assert f"--{key}  {describe_type(option.type)}" in text
        assert option.help and option.help in text, f"{key} has no help"


def test_help_without_a_name_lists_what_can_be_chosen() -> None:
    text = help_on("strategy")
    assert all(name in text for name in registry.names("strategies"))
    with pytest.raises(UserError, match="did you mean 'strategy'"):
        help_on("stratgy")


# -- properties -------------------------------------------------------------------------------


def _values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that a type allows; what constructors refuse is left out by the caller."""
    origin, inner = get_origin(kind), get_args(kind)
    if hasattr(kind, "__metadata__"):
        return _values(inner[0])
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(1, 10_000)
    if kind is float:
        return st.floats(1e-6, 1e6, allow_nan=False)
    if kind is str:
        return st.text(st.characters(exclude_categories=("C",)), max_size=12)
    if kind is type(None):
        return st.none()
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is dict:
        return st.dictionaries(_values(str), _values(inner[1]), max_size=3)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return st.lists(_values(inner[0]), max_size=3)
    return st.one_of([_values(part) for part in inner])


# Options whose constructors take any value of the type, one for every kind of type there is.
FREE = [
    ("seed", {}),
    ("device", {}),
    ("strategy.weight", {"strategy": "distill"}),
    ("strategy.teacher", {"strategy": "distill"}),
    ("adapter.targets", {"adapter": "lora"}),
    ("adapter.last", {"adapter": "lora"}),
    ("prompt.words", {"prompt": "context"}),
    ("prompt.coupled", {"prompt": "deep"}),
    ("backbone.pretrained", {"backbone": "ViT-B-32"}),
    ("data.long_texts", {}),
    ("train.head_lr", {}),
    ("scenario.words", {"scenario": "domain_folders", "scenario.root": "x"}),
    ("scenario.root", {"scenario": "domain_folders"}),
    ("scenario.holdout", {"scenario": "domain_folders", "scenario.root": "x"}),
    ("scenario.classes", {"scenario": "domain_folders", "scenario.root": "x"}),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_the_command_of_any_configuration_gives_that_configuration(data: st.DataObject) -> None:
    key, parts = data.draw(st.sampled_from(FREE))
    arguments_of = {key: argument for key, argument, _ in resolve({**parts, **_required(parts)}).options()}
    kind = arguments_of[key].type
    value = data.draw(_values(kind))
    # "null" in quotes cannot be told from null where both are allowed; no domain is called that.
    if value == "null" and kind is not str:
        return
    config = resolve({**parts, **_required(parts), key: value})
    assert config.option(key) == value
    assert resolve(parse_arguments(shlex.split(command_of(config))[2:])) == config
    assert resolve(yaml.safe_load(yaml.safe_dump(config.as_dict()))) == config


def _some(kind: Any) -> Any:
    return ["x", "y"] if kind == list[str] else {"x": "y"} if kind == dict[str, str] else "x"


def _required(parts: dict[str, Any]) -> dict[str, Any]:
    """Values of the options that these parts cannot do without."""
    named = [(slot, name) for slot, name in parts.items() if slot in KINDS and KINDS[slot].plural]
    loaded = {slot: registry.load(KINDS[slot].plural, name) for slot, name in named if name != "none"}
    needed: dict[str, Any] = {
        f"{slot}.{a.name}": inside.kind.default if (inside := slot_in(a.type)) else _some(a.type)
        for slot, part in loaded.items()
        for a in arguments(part)
        if a.required
    }
    if parts.get("reference", "none") != "none":
        needed["strategy"] = "reference_distill"
    if getattr(loaded.get("strategy"), "reads_reference", False):
        needed["reference"] = "catalogue"
    return needed


def test_spaces_are_those_of_the_chosen_parts() -> None:
    found = spaces(resolve({"strategy": "replay", "adapter": "lora"}))
    assert found["strategy.size"] == Int(50, 1000, log=True)
    assert found["strategy.policy"] == Choice("balanced", "reservoir")
    assert isinstance(found["train.lr"], Float) and "adapter.r" in found
    assert "strategy.lam" not in found


# -- parts of third parties -------------------------------------------------------------------

PART = '''
"""A part that no package registers."""
from __future__ import annotations
from clplat.training.strategy import Strategy
from clplat.kinds import KINDS
class Mine(Strategy):
    """Mine does nothing."""
    def __init__(self, loss: float = 0.5, names: tuple[str, ...] = ("a",), seed: int | None = None) -> None:
        """Mine.

        Args:
            loss, names: not a slot, although it is called like one.
        """
        if loss > 1:
            raise ValueError(f"loss must be at most 1, not {loss}")
        self.loss_weight, self.seed = loss, seed
class Unreadable(Strategy):
    def __init__(self, what: NoSuchType = 3) -> None: ...
'''


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "clplat_test_part.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)
    return "clplat_test_part:Mine"


def test_a_dotted_path_is_a_part_with_options_like_any_other(part: str) -> None:
    config = resolve(parse_arguments(["--strategy", part, "--strategy.loss", "0.25", "--seed", "4"]))
    assert config.parts["strategy"] == Part(part, {"loss": 0.25, "names": ["a"], "seed": None})
    made = config.make("strategy")
    assert made.loss_weight == 0.25 and made.seed == 4, "a part without a seed has the experiment's"
    assert resolve(parse_arguments(shlex.split(command_of(config))[2:])) == config
    assert "loss must be at most 1, not 7" in complaint("--strategy", part, "--strategy.loss", "7")


def test_types_that_cannot_be_read_are_reported(part: str) -> None:
    assert "NoSuchType" in complaint("--strategy", part.replace("Mine", "Unreadable"))


def test_help_lines_of_a_docstring() -> None:
    def made(one: int = 1, two: int = 2, three: int = 3) -> None:
        """Make.

        Args:
            one, two: both
                of them.
            three (whole): alone: with a colon.

        Raises:
            ValueError: never.
        """

    helps = {argument.name: argument.help for argument in arguments(made)}
    assert helps == {"one": "both of them.", "two": "both of them.", "three": "alone: with a colon."}
