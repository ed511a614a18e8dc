"""The ledger of all systems: which they are, that a run is made once, that a failure is a line; its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clplat import registry
from clplat.config.recipes import recipes
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.files import write_json
from sweeps import every_system
from sweeps.ledger import jobs as ledger_jobs
from sweeps.ledger import page as ledger_page
from sweeps.ledger.fingerprints import fingerprint, sources, statements
from sweeps.ledger.jobs import Job, Stream, jobs_of, laid_out, perform, state_of
from sweeps.ledger.page import RESULTS, ROOT, page, publish, read_entries
from sweeps.ledger.rates import RATES, name_in
from sweeps.ledger.reasons import read_reasons
from sweeps.ledger.rows import entry_of
from sweeps.ledger.study import best, means, read_studies
from sweeps.ledger.systems import BASELINES, FAMILIES, System, systems
from sweeps.ledger.twins import twin

pytestmark = pytest.mark.usefixtures("one_thread")


# -- which systems ----------------------------------------------------------------------------


def _names(system: System) -> tuple[str, ...]:
    return (system.name, *system.same)


def test_every_recipe_about_a_stream_is_in_the_ledger_by_its_family_or_strategy() -> None:
    every = {system.name: system for system in systems()}
    assert list(every)[: len(BASELINES)] == list(BASELINES)
    held = {name for system in systems() if system.kind == "recipe" or system.same for name in _names(system)}
    assert {one.name for one in recipes() if one.family in FAMILIES} <= held
    assert {"bct_like", "ft_clip", "hot_refresh"} <= held, "by their strategy"
    assert not {"maple", "lora", "slerp", "products"} & held


def test_each_is_compared_with_plain_training_of_the_same_parts() -> None:
    every = {system.name: system for system in systems()}
    place = {name: i for i, name in enumerate(every)}
    for name, system in every.items():
        assert system.kind == "baseline" or not system.against or place[system.against] < place[name], (
            "what it is compared with runs first"
        )
    assert every["er"].against == every["ewc"].against == "naive"
    assert every[every["c_clip"].against].raw["adapter"] == {"name": "lora"}
    twins = [repr(system.raw) for system in systems() if system.kind == "twin"]
    assert len(twins) == len(set(twins)) > 5, "one for all of equal parts"
    assert every["mode_like"].against == every["dar"].against == every["ogd"].against, (
        "also if spelt otherwise"
    )
    assert "reference" not in every[every["zscl"].against].raw
    assert twin({"strategy": "naive"}) is None and every["linear_probe"].against == "", "nothing is plainer"


def test_what_a_strategy_brings_is_plainly_trained_in_its_twin() -> None:
    every = {system.name: system for system in systems()}
    brought = {
        name: every[every[name].against].raw
        for name, system in every.items()
        if any(
            registry.tag("strategies", one, "brings", ())
            for one in name_in(system.raw, "strategy").split(",")
        )
    }
    assert len(brought) >= 14
    whole = {name for name, raw in brought.items() if not name_in(raw, "adapter")}
    assert whole == {"r_amt"}, "masks of all weights: plain training of the towers is less than that"
    assert every["r_amt"].against == "naive"
    for name, raw in brought.items():
        if name in whole:
            continue
        assert name_in(raw, "strategy") == "naive" and every[name].against != "naive", name
        assert name_in(raw, "adapter") not in ("none", "full") or name_in(raw, "prompt"), name
    assert brought["o_lora"]["adapter"]["lora_alpha"] == 32 and brought["o_lora"]["adapter"]["r"] == 8
    assert brought["sd_lora"]["adapter"]["lora_alpha"] == 0.8 * 10, "its scale: the magnitude times r"
    assert brought["cl_lora"]["adapter"]["towers"] == "image"
    assert brought["clip_moe"]["adapter"]["experts"] == 4
    assert brought["coda_prompt"]["prompt"]["components"] == 10
    assert brought["unified_lifelong"]["adapter"]["name"] == "full", "with the prompt beside the towers"


def test_plain_training_of_a_part_is_compared_with_less_than_that_part() -> None:
    every = {system.name: system for system in systems()}
    assert every[every["moe_adapters"].against].raw["adapter"]["experts"] == 1
    assert every[every["l2p"].against].raw["prompt"] == every["l2p"].raw["prompt"] | {"size": 5}
    assert every["osft"].against == every["g_stack"].against == "naive", "they change whole weights"
    assert every["dkvb"].against == "linear_probe" and every["ranpac"].against == "frozen"


def test_what_is_the_same_configuration_is_one_row() -> None:
    every = {system.name: system for system in systems()}
    assert every["cumulative"].same == ("joint",) and "joint" not in every
    assert {system.name for system in every_system.chosen("joint")} == set(BASELINES)


def test_rows_of_a_kind_share_the_rate_that_the_study_chose() -> None:
    assert {stream.name: stream.rates for stream in every_system.STREAMS} == RATES
    for stream, study in read_studies(ROOT).items():
        found = {kind: best(rates) for kind, rates in means(study).items()}
        assert found == {kind: RATES[stream][kind] for kind in found} and "towers" in found
    assert {*means(read_studies(ROOT)["catalogue"])} == {*RATES["catalogue"]}
    every = {system.name: system for system in systems()}
    own = {one.name for one in recipes() if "lr" in one.config.get("train", {})}
    for system in systems():
        named = "lr" in system.raw.get("train", {})
        assert named == bool(own & {system.name, system.name.removeprefix("naive, as ")}), system.name
        against = every.get(system.against, system)
        assert system.kind != "recipe" or against.trains == system.trains
    assert every["o_lora"].trains == every["moe_adapters"].trains == "low rank"
    assert (
        every["l2p"].trains == "prompts" and every["linear_probe"].trains == every["ship"].trains == "layers"
    )
    assert every["clip_up_moe"].trains == every["sdc"].trains == "towers"


def test_further_inputs_are_named() -> None:
    extra = {system.name: system.extra for system in systems()}
    assert extra["tinyclip"] == ("another model as teacher",) and extra["zscl"] == ("reference data",)
    assert extra["er"] == () and extra["clove"] == ("captions of the pictures",)


def test_both_streams_take_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue, products = every_system.STREAMS
    er = next(system for system in systems() if system.name == "er")
    _, finals = laid_out(catalogue, er, every_system.SEEDS)
    assert [(final.seed, final.order) for final in finals] == [(0, 0), (1, 1), (2, 0)]
    layout, finals = laid_out(products, er, every_system.SEEDS)
    config = layout.final_config(finals[1])
    assert config.option("strategy.domains") == "all" and config.option("adapter.last") == 2
    assert config.option("scenario.order") == products.orders[1] != products.orders[0]
    assert config.option("train.lr") == RATES["products"]["towers"]
    named = next(system for system in systems() if system.name == "clip_refine")
    layout, finals = laid_out(catalogue, named, every_system.SEEDS)
    assert layout.final_config(finals[0]).option("train.lr") == 1e-4, "a recipe keeps its own"


# -- a small ledger ---------------------------------------------------------------------------


def test_a_fingerprint_is_that_of_the_configuration_and_of_the_parts() -> None:
    replay, ewc = (resolve({"strategy": name}) for name in ("replay", "ewc"))
    assert fingerprint(replay) == fingerprint(resolve({"strategy": "replay"})) != fingerprint(ewc)
    assert fingerprint(replay) != fingerprint(resolve({"strategy": "replay", "train.lr": 2e-3}))


def test_a_fingerprint_is_that_of_the_weights_of_a_local_model(tmp_path: Path) -> None:
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"weights")
    config = resolve({"backbone": f"local-dir:{tmp_path}"})
    before = fingerprint(config)
    assert fingerprint(config) == before
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"others")
    assert fingerprint(config) != before, "a model that was made anew has other rows"
    both = sources(resolve({"strategy": "ewc,distill", "strategy.distill.teacher": "momentum"}))
    assert {"ewc.py", "distill.py", "momentum.py", "relation.py"} <= {path.name for path in both}
    assert not any("training" in path.parts for path in both)


def test_words_in_the_source_of_a_part_begin_no_row_anew(tmp_path: Path) -> None:
    one, told, other = (tmp_path / f"{name}.py" for name in ("one", "told", "other"))
    one.write_text("class A:\n    def f(self):\n        return 2 * self.x\n")
    told.write_text(
        '"""A."""\n\n\nclass A:\n    """Doubles."""\n\n    def f(self):\n        return (2 * self.x)  # x\n'
    )
    other.write_text("class A:\n    def f(self):\n        return 3 * self.x\n")
    assert statements(one) == statements(told) != statements(other)


@pytest.fixture(scope="module")
def small(small_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stream, Path]:
    """Two domains, one seed: naive and er have run, ewc has failed."""
    base = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {
            "name": "catalogue", "domains": 2, "train": 8, "queries": 10, "gallery": 20, "size": 16
        },
        "train": {"epochs": 1, "batch_size": 8},
        "evaluation": {"anchors": 8},
    }  # fmt: skip
    stream = Stream("small", "eight triplets", base, [["dress-studio", "top-sketch"]], {"domains": "all"})
    out = tmp_path_factory.mktemp("ledger")
    for system in SMALL[:2]:
        perform(_job(stream, system, out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clplat.runs.experiment.run", _breaks)
        perform(_job(stream, SMALL[2], out))
    return stream, out


SMALL = [
    System("naive", "baseline", {"strategy": "naive"}),
    System("er", "recipe", {"strategy": {"name": "replay", "size": 4}}, family="rehearsal"),
    System("ewc", "recipe", {"strategy": "ewc"}, family="regularisation"),
    System("lost", "recipe", {"strategy": "nothing"}, family="regularisation"),
]


def _job(stream: Stream, system: System, out: Path) -> Job:
    return jobs_of(*laid_out(stream, system, [0]), out / stream.name)[0]


def _breaks(*_: Any, **__: Any) -> Mapping[str, Any]:
    raise ZeroDivisionError("nothing to divide")


def test_what_is_complete_is_not_run_again(small: tuple[Stream, Path]) -> None:
    stream, out = small
    states = [state_of(_job(stream, system, out)) for system in SMALL[:3]]
    assert [state["state"] for state in states] == ["complete", "complete", "failed"]
    assert states[0]["cpu_seconds"] > 0 and "nothing to divide" in states[2]["why"]
    changed = replace(stream, base={**stream.base, "train": {"epochs": 2}})
    assert state_of(_job(changed, SMALL[0], out)) == {"state": "missing"}
    kept = {path.name for path in _job(stream, SMALL[0], out).folder.iterdir()}
    assert kept == {"result.json", "config.yaml", "values"}, "no weights of hundreds of models"


def test_a_killed_run_goes_on_and_another_ones_folder_is_cleared(
    small: tuple[Stream, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _ = small
    seen = []
    monkeypatch.setattr("clplat.runs.experiment.run", lambda config, folder: seen.append(folder.exists()))
    monkeypatch.setattr(ledger_jobs, "_keep_numbers", lambda folder: None)
    job = _job(stream, SMALL[0], tmp_path)
    for state, print_of in (("begun", job.fingerprint), ("begun", "another"), ("failed", job.fingerprint)):
        job.folder.mkdir(parents=True, exist_ok=True)
        ledger_jobs.write_json(job.record, {"fingerprint": print_of, "state": state, "why": ""})
        perform(job)
    assert seen == [True, False, False]


def test_the_entry_says_what_was_measured_and_what_failed(small: tuple[Stream, Path], tmp_path: Path) -> None:
    stream, out = small
    entry = entry_of(stream, SMALL, [0], out)
    rows = {row["system"]: row for row in entry["rows"]}
    assert rows["er"]["n"] == 1 and rows["er"]["difference"]["n"] == 1 and rows["naive"]["difference"] is None
    assert rows["er"]["passes"] > 1.1 and rows["naive"]["passes"] == 1.0
    assert rows["naive"]["between"] == 0.0, "plain training does nothing between its steps"
    assert rows["er"]["measures"]["exemplar_bytes"]["mean"] > 0
    assert "nothing to divide" in rows["ewc"]["failed"][0]
    assert "unknown strategy 'nothing'" in rows["lost"]["failed"][0]
    publish([entry], tmp_path)
    text = (tmp_path / "docs" / "ledger.md").read_text(encoding="utf-8")
    assert text == page(read_entries(tmp_path))
    assert "| `er` | rehearsal |" in text and "**Below plain training" in text
    assert "- `ewc`, 1 of its runs: ZeroDivisionError" in text and "2 of 4 rows" in text.replace("\n", " ")
    assert (tmp_path / "docs" / "images" / "ledger-small.png").stat().st_size < 60_000


def test_what_was_not_measured_again_stays_with_its_day(small: tuple[Stream, Path], tmp_path: Path) -> None:
    stream, out = small
    whole = RESULTS.write(entry_of(stream, SMALL, [0], out), tmp_path)
    path = tmp_path / RESULTS.folder / "small.json"
    write_json(path, _dated(whole) | {"rows": [_dated(row) for row in whole["rows"]]})
    part = entry_of(stream, [one for one in SMALL if one.name in ("naive", "ewc")], [0], out)
    rows = {row["system"]: row for row in RESULTS.write(part, tmp_path, ["er", "naive", "ewc"])["rows"]}
    assert [*rows] == ["er", "naive", "ewc"], "in their order, and the system that is no longer known is gone"
    assert rows["er"]["date"] == "2020-01-01" < rows["naive"]["date"]
    assert rows["er"]["code"] == ["old"] and rows["naive"]["code"] == part["code"]
    assert "Measured 2020-01-01 to " in page(read_entries(tmp_path))
    other = {**part, "base": {**part["base"], "train": {"epochs": 9}}}
    assert [row["system"] for row in RESULTS.write(other, tmp_path)["rows"]] == ["naive", "ewc"]


def _dated(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "date": "2020-01-01", "code": ["old"]}


@pytest.mark.slow  # each job is a process
def test_processes_do_what_is_left(small: tuple[Stream, Path], tmp_path: Path) -> None:
    from sweeps.ledger.workers import work_through

    stream, _ = small
    said: list[str] = []
    good = _job(stream, SMALL[0], tmp_path)
    broken = replace(good, folder=good.folder.with_name("late"))
    work_through([good], 1, 300.0, said.append)
    work_through([broken], 1, 0.0, said.append)
    assert state_of(good)["state"] == "complete" and state_of(broken)["state"] == "failed"
    assert "complete" in said[0] and "ended with code -9" in said[1]


# -- what is committed ------------------------------------------------------------------------


def test_the_page_is_what_the_ledger_says() -> None:
    again = "run `python sweeps/every_system.py --page`"
    assert (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8") == page(read_entries()), again


def test_reasons_are_sentences_about_systems_of_the_ledger() -> None:
    reasons = read_reasons()
    assert reasons.keys() <= {system.name for system in systems()}
    assert not [name for name, why in reasons.items() if not why.endswith(".") or "\n" in why]


def test_a_reason_stands_beside_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = read_entries()[0]
    below = [row for row in entry["rows"] if (row.get("difference") or {"mean": 0.0})["mean"] < 0]
    one, other, third = [row["system"] for row in below if row["kind"] == "recipe"][:3]
    ends = {other: -0.1, third: 0.1}
    rows = [
        {**row, "difference": {**row["difference"], "high": ends[row["system"]]}}
        if row["system"] in ends
        else row
        for row in entry["rows"]
    ]
    monkeypatch.setattr(ledger_page, "read_reasons", lambda: {one: "It keeps too much."})
    text = page([{**entry, "rows": rows}])
    assert f"- `{one}` (" in text and "): It keeps too much.\n" in text
    lines = {line.partition(": ")[0]: line for line in text.splitlines() if line.startswith("- Not ")}
    unknown, untold = lines["- Not known of"], lines["- Not told from it"]
    assert f"`{other}`" in unknown and f"`{one}`" not in unknown + untold, "the interval leaves 0 out"
    assert f"`{third}`" in untold and f"`{third}`" not in unknown


def test_a_wrong_name_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown system of the ledger 'ervv'; did you mean 'er'"):
        every_system.chosen("ervv")
    assert every_system.main(["--systems", "ervv", "--out", str(tmp_path)]) == 2
    assert "every_system: unknown system" in capsys.readouterr().err
    assert {system.name for system in every_system.chosen("c_clip")} == {
        *BASELINES,
        "c_clip",
        "naive, as c_clip",
    }
