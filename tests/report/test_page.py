"""The page as a browser and a reader get it: well formed, alone, true to `sweep.json`, never half."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.report import write_report
from clplat.report.answer import answer_table

Outcome = dict[str, Any]
Make = Callable[..., Outcome]
VOID = {"meta", "img", "br", "hr", "input", "link"}
MANY_DOMAINS = [f"a domain with a rather long name {k}" for k in range(12)]


class Page(HTMLParser):
    """Elements with their attributes, headings, tables and all text; unclosed elements are errors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.headings: list[tuple[int, str]] = []
        self.tables: list[dict[str, Any]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag == "table":
            self.tables.append({"caption": "", "rows": []})
        if tag == "tr":
            self.tables[-1]["rows"].append([])
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self.open):
            self.text.append(data)
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, before = self.headings[-1]
            self.headings[-1] = (level, before + data)
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif {"td", "th"} & set(self.open) and "svg" not in self.open:
            self.tables[-1]["rows"][-1][-1] += data

    def sections(self) -> list[str]:
        return [text for level, text in self.headings if level == 2]

    def table(self, words: str) -> list[list[str]]:
        """The rows of the first table whose caption has these words, white space folded."""
        found = next(table for table in self.tables if words in table["caption"])
        return [[" ".join(cell.split()) for cell in row] for row in found["rows"]]


@pytest.fixture
def without_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are laid out, but not written: half of a page's time, for tests of its tables and words."""
    monkeypatch.setattr("clplat.report.pictures.svg_data", lambda figure: "data:image/svg+xml;base64,")


def page_of(out: Path) -> Page:
    return Page(write_report(out).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full(make_sweep: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Page, Path]:
    """A complete sweep with everything that a page may show."""
    out = tmp_path_factory.mktemp("full") / "out"
    failure = {
        "label": "ewc (tuned) s1",
        "folder": "ewc-tuned-s1",
        "why": "the loss is not finite at step 130",
    }
    outcome = make_sweep(out, grids=True, figure={"kind": "bars", "y": "final"}, failures=[failure])
    return outcome, page_of(out), out


def test_sections_stand_in_order(full: tuple[Outcome, Page, Path]) -> None:
    assert full[1].sections() == [
        "Answer",
        "Which differences are significant",
        "The question as a figure",
        "Over the stream",
        "Every domain after every domain",
        "Plasticity and stability",
        "What tuning could trade",
        "What it costs",
        "Which options mattered",
        "Trials",
        "What is found",
        "What failed",
        "How to repeat this",
    ]


def test_structure(full: tuple[Outcome, Page, Path]) -> None:
    _, page, _ = full
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements
    for tag, attrs in page.elements:
        if tag == "img":
            assert len(attrs["alt"]) > 30
        if tag == "svg":
            assert attrs["role"] == "img" and attrs["aria-label"]
        if tag == "th":
            assert attrs["scope"] in ("col", "row", "rowgroup")
    assert all(table["caption"].strip() for table in page.tables)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("split", "said"), [("test", ", test split, best"), ("val", ", val split, best"), (None, "domains, best")]
)
def test_the_answer_says_what_it_was_measured_on(
    split: str | None, said: str, make_sweep: Make, tmp_path: Path
) -> None:
    """Outcomes of older releases do not know it, and nothing is said."""
    outcome = make_sweep(tmp_path, (("naive", "default"),), trials=0)
    rows = [row | ({"split": split} if split else {}) for row in outcome["rows"]]
    assert said in answer_table(rows, outcome, {}).caption


def test_nothing_comes_from_elsewhere(full: tuple[Outcome, Page, Path]) -> None:
    _, page, out = full
    for tag, attrs in page.elements:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset", "poster", "action"):
            assert attrs.get(name, "data:").startswith(("data:image/", "#", "data:"))
    text = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import", text)
    assert len(text) < 3_000_000


def test_the_answer_has_the_numbers_of_the_sweep(full: tuple[Outcome, Page, Path]) -> None:
    outcome, page, _ = full
    assert outcome["sentence"] in "".join(page.text)
    rows = {row[0]: row for row in page.table("R@5 after the last domain")}
    for row in outcome["rows"]:
        note = "" if row["kind"] in row["label"] else " upper bound" if row["bound"] else f" {row['kind']}"
        shown, score = rows[row["label"] + note], row["score"]
        assert shown[1] == f"{score['mean']:.1f} ± {score['sd']:.1f}"
        assert shown[2] == f"{score['low']:.1f} to {score['high']:.1f}"
        assert shown[4] == "3"
        assert shown[5] == ("yes" if row["feasible"] else "no")
        assert shown[6] == ("train.lr = 0.0031" if row["kind"] == "tuned" else "–")
    order = list(rows)
    parted = order.index("To compare with: bounds and controls")
    assert order[parted + 1 :] == ["cumulative upper bound", "frozen control"]
    means = [float(rows[name][1].split()[0]) for name in order[1:parted]]
    assert means == sorted(means, reverse=True)


def test_other_measures_and_costs(full: tuple[Outcome, Page, Path]) -> None:
    outcome, page, _ = full
    head, *lines = page.table("Other measures")
    assert "AC" in head and "update gain" not in head  # undefined for every row
    replay = next(row for row in outcome["rows"] if row["label"] == "replay (tuned)")
    line = next(line for line in lines if line[0] == "replay (tuned)")
    bwt = replay["measures"]["bwt"]
    assert line[head.index("BWT (points)")] == f"−{-bwt['mean']:.1f} ± {bwt['sd']:.1f}"
    costs = next(line for line in page.table("Costs of a run") if line[0] == "replay (tuned)")
    assert costs[1] == f"{replay['measures']['training_flops']['mean'] / 1e12:.1f} TFLOP"
    assert "977,952" in costs and "2.9 MB" in costs


def test_comparisons(full: tuple[Outcome, Page, Path]) -> None:
    outcome, page, _ = full
    lines = {line[0]: line for line in page.table("Paired differences")}
    for entry in outcome["comparisons"]:
        line = lines[f"{entry['a']} − {entry['b']}"]
        assert float(line[1].replace("−", "-")) == pytest.approx(entry["difference"], abs=0.051)
        assert line[5] == ("yes" if entry["real"] else "no")
    assert [e["family"] for e in outcome["comparisons"]].count("tuning") == 3
    assert "Tuned against its own default" in lines


def test_matrices_are_means_over_replicates(full: tuple[Outcome, Page, Path]) -> None:
    outcome, page, out = full
    row = next(row for row in outcome["rows"] if row["label"] == "ewc (default)")
    tables = [json.loads((out / f / "result.json").read_text())["metrics"]["R@5"] for f in row["folders"]]
    table = next(t for t in page.tables if t["caption"].startswith("ewc (default)"))
    _, *lines = table["rows"]
    assert [line[0] for line in lines] == ["untrained", *(f"+ {name}" for name in outcome["domains"])]
    for i, line in enumerate(lines):
        assert line[1:] == [f"{sum(t[i][j] for t in tables) / 3:.1f}" for j in range(5)]


def test_trials_and_failures_say_why(full: tuple[Outcome, Page, Path]) -> None:
    outcome, page, _ = full
    _, *lines = page.table("replay: 10 trials (8 complete, 2 pruned)")
    study = outcome["studies"][0]
    assert len(lines) == len(study["trials"])
    assert lines[3][1] == "| pruned" and lines[3][-1] == "below the median after 2 domains"
    assert lines[study["best"]][0] == f"{study['best']} best"
    assert page.table("What failed")[1] == [
        "ewc (tuned) s1",
        "ewc-tuned-s1",
        "the loss is not finite at step 130",
    ]
    text = " ".join("".join(page.text).split())
    for words in (outcome["command"], outcome["code"][0], "torch 2.15.0", "0, 1, 2"):
        assert words in text


def test_grids_before_and_after_of_two_rows(full: tuple[Outcome, Page, Path]) -> None:
    _, page, _ = full
    alts = [attrs["alt"] for tag, attrs in page.elements if tag == "img" and "image/jpeg" in attrs["src"]]
    # The untrained model finds the same for both: shown once.
    assert [alt.split(":")[0] for alt in alts] == ["Before training", "After 5 domains", "After 5 domains"]
    assert "replay (tuned)" in alts[1] and "ewc (default)" in alts[2]


def test_what_is_found_stands_side_by_side(make_sweep: Make, tmp_path: Path) -> None:
    from PIL import Image

    from clplat.data.records import Picture
    from clplat.retrieval_grid import draw_grid, save_picture

    outcome = make_sweep(tmp_path, (("replay", "default"), ("frozen", "control")), seeds=(0,), trials=0)
    grey = Picture("grey", lambda: Image.new("RGB", (40, 40), "grey"))
    sheet = draw_grid([(name, grey, "in red", [(grey, True)]) for name in ("shoes", "bags")])
    for row in outcome["rows"]:
        save_picture(sheet, tmp_path / row["folders"][0] / "grids" / "step_5.png")
    page = page_of(tmp_path)
    alts = [attrs["alt"] for tag, attrs in page.elements if tag == "img" and "image/jpeg" in attrs["src"]]
    names = ", ".join(row["label"] for row in outcome["rows"])
    assert alts == [
        f"One query of {query}: its reference and words, and what {names} found."
        for query in ("shoes", "bags")
    ]


def test_equal_input_gives_equal_bytes(full: tuple[Outcome, Page, Path]) -> None:
    out = full[2]
    before = (out / "report.html").read_bytes()
    write_report(out)
    assert (out / "report.html").read_bytes() == before
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_nine_rows_and_three_seeds_are_quick(make_sweep: Make, tmp_path: Path) -> None:
    methods = [(s, k) for s in ("replay", "ewc", "naive", "distill") for k in ("tuned", "default")]
    make_sweep(tmp_path, [*methods, ("cumulative", "control")], grids=True, trials=20)
    begun = time.process_time()
    path = write_report(tmp_path)
    assert time.process_time() - begun < 20  # about 3 s on a quiet core
    assert path.stat().st_size < 3_000_000


@pytest.mark.filterwarnings("error")
def test_hostile_names_are_only_text(make_sweep: Make, tmp_path: Path) -> None:
    evil = "<script>alert('x')</script> \"&amp; {{ 7 * 7 }} $\\nothing$ 模型 \u202e"
    outcome = make_sweep(
        tmp_path, (("replay", "tuned"), ("naive", "default")), names={0: evil, 1: "b"},
        orders=((evil, "bags"),), name=evil, question=evil, sentence=evil, command=evil,
        versions={evil: evil}, failures=[{"label": evil, "folder": evil, "why": evil}],
        figure={"kind": "heatmap", "title": evil},
    )  # fmt: skip
    page = page_of(tmp_path)
    assert not [tag for tag, _ in page.elements if tag == "script"]
    assert page.headings[0] == (1, evil)
    assert evil in "".join(page.text) and "49" not in page.headings[0][1]
    assert any(evil in attrs.get("alt", "") for _, attrs in page.elements)
    assert any(" ".join(evil.split()) in row[0] for row in page.table("R@5 after the last domain"))
    assert outcome["rows"]


@pytest.mark.parametrize("status", ["running", "complete"])
def test_nothing_finished_yet(make_sweep: Make, tmp_path: Path, status: str) -> None:
    make_sweep(
        tmp_path, (), trials=0, status=status, sentence="", figure={"kind": "curve", "x": "a", "y": "final"}
    )
    page = page_of(tmp_path)
    assert page.sections() == ["Answer", "How to repeat this"]
    assert "No method has finished yet" in "".join(page.text)
    assert ("still running" in "".join(page.text)) == (status == "running")


@pytest.mark.usefixtures("without_svg")
def test_half_a_sweep_says_what_is_missing(make_sweep: Make, tmp_path: Path) -> None:
    outcome = make_sweep(tmp_path, status="running")
    shutil.rmtree(tmp_path / outcome["rows"][0]["folders"][0])
    broken = outcome["rows"][1]["folders"][0]
    (tmp_path / broken / "result.json").write_text("{ half")
    young = outcome["rows"][2]["folders"][0]
    result = json.loads((tmp_path / young / "result.json").read_text())
    result["metrics"] = {name: rows[:2] for name, rows in result["metrics"].items()}
    (tmp_path / young / "result.json").write_text(json.dumps(result))
    outcome["rows"][2] |= {"n": 2, "folders": outcome["rows"][2]["folders"]}
    (tmp_path / "sweep.json").write_text(json.dumps(outcome))
    page = page_of(tmp_path)
    text = "".join(page.text)
    assert "still running" in text and "2 of the runs could not be read" in text
    assert f"Fewer replicates than the others: {outcome['rows'][2]['label']} (2 of 3)" in text
    assert {line[1] for line in page.table("What failed")[1:]} == {outcome["rows"][0]["folders"][0], broken}


@pytest.mark.usefixtures("without_svg")
def test_one_replicate_without_limits_or_studies(make_sweep: Make, tmp_path: Path) -> None:
    make_sweep(tmp_path, (("replay", "default"), ("naive", "default")), seeds=(0,), trials=0, constraints={})
    page = page_of(tmp_path)
    head, *lines = page.table("R@5 after the last domain")
    assert head[:3] == ["method", "R@5 (%)", "95 % interval"] and len(head) == 5
    assert all("±" not in cell for line in lines for cell in line)
    assert not {"Trials", "What tuning could trade", "Which options mattered"} & set(page.sections())


@pytest.mark.usefixtures("without_svg")
def test_groups_have_tables_of_their_own(make_sweep: Make, tmp_path: Path) -> None:
    make_sweep(tmp_path, (("replay", "tuned"), ("naive", "default")), groups=("3 domains", "6 domains"))
    page = page_of(tmp_path)
    for group in ("3 domains", "6 domains"):
        assert len(page.table(f"{group}: R@5 after the last domain")) == 3
        assert page.table(f"{group}: costs of a run")


@pytest.mark.usefixtures("without_svg")
def test_orders_that_differ_are_shown_by_place(make_sweep: Make, tmp_path: Path) -> None:
    orders = (["a", "b", "c"], ["c", "a", "b"])
    make_sweep(tmp_path, (("replay", "default"), ("naive", "default")), seeds=(0, 1), orders=orders, trials=0)
    page = page_of(tmp_path)
    heat = next(t for t in page.tables if t["caption"].startswith("replay"))
    assert heat["rows"][0] == ["", "1st", "2nd", "3rd"]


def test_errors_in_one_line(make_sweep: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*sweep\.json"):
        write_report(tmp_path)
    (tmp_path / "sweep.json").write_text('{"schema": 2}')
    with pytest.raises(UserError, match="has schema 2; this version of clplat reads schema 1"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_search_that_has_begun_and_numbers_that_are_missing(make_sweep: Make, tmp_path: Path) -> None:
    outcome = make_sweep(tmp_path, (("replay", "tuned"), ("naive", "default")), status="running", grids=True)
    for path in tmp_path.glob("*/grids/step_0.png"):
        path.write_bytes(b"no picture")
    (study,) = outcome["studies"]
    study["trials"] = study["trials"][:3] + [
        {"number": 3, "state": state, "values": None, "params": {}, "measures": {}, "constraints": {},
         "why": None, "folder": "trials/replay/3"}
        for state in ("running", "waiting")
    ]  # fmt: skip
    study |= {"best": None, "importances": {}, "spent": {"trials": 3, "seconds": None, "tflops": None}}
    for row in outcome["rows"]:
        row["score"] |= {"sd": None, "low": None, "high": None}
        row["measures"] |= {"plasticity": None, "AC": {"mean": None, "sd": None}}
    (tmp_path / "sweep.json").write_text(json.dumps(outcome))
    page = page_of(tmp_path)
    assert page.table("R@5 after the last domain")[1][2] == "–"
    assert [line[1] for line in page.table("replay: 5 trials")[-2:]] == ["… running", "· waiting"]
    assert "Plasticity and stability" not in page.sections() and "What is found" in page.sections()
    outcome |= {"rows": [], "comparisons": [], "sentence": ""}
    (tmp_path / "sweep.json").write_text(json.dumps(outcome))
    assert page_of(tmp_path).sections() == [
        "Answer",
        "What tuning could trade",
        "Trials",
        "How to repeat this",
    ]


@pytest.mark.usefixtures("without_svg")
def test_how_to_repeat_it_names_orders_and_own_options_only(make_sweep: Make, tmp_path: Path) -> None:
    names = ["b", "a"]
    settings: dict[int, dict[str, float | None]] = {
        0: {"strategy.size": 50, "strategy.lam": None},
        1: {"strategy.size": None, "strategy.lam": 2.0},
    }
    outcome = make_sweep(
        tmp_path, (("replay", "default"), ("ewc", "default")), orders=(["a", "b"], names), settings=settings,
        seeds=(0, 1), trials=0,
    )  # fmt: skip
    (tmp_path / "sweep.json").write_text(json.dumps(outcome | {"orders": ["own", names]}))
    page = page_of(tmp_path)
    assert "the scenario's own b, a" in " ".join("".join(page.text).split())
    assert {row[0].split()[0]: row[1] for row in page.table("Runs")[1:]} == {
        "replay": "strategy.size = 50",
        "ewc": "strategy.lam = 2",
    }


def measured(tmp_path: Path, width: int, script: str) -> list[float]:
    """What a script says of ``out/report.html`` in a frame of this width; ``d`` is the document there."""
    page = (
        f'<iframe id="f" src="out/report.html" style="width:{width}px;height:800px;border:0"></iframe>'
        '<p id="said"></p><script>f.onload = () => { const d = f.contentDocument;'
        "const all = (q, of) => [...d.querySelectorAll(q)].map(of);"
        f"said.textContent = `said ${{JSON.stringify({script})}}.` }}</script>"
    )
    (tmp_path / "frame.html").write_text(page)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
               f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
               (tmp_path / "frame.html").as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True).stdout
    said = re.search(r"said (\[.*?\])\.", dom)
    assert said is not None, dom[-500:]
    found: list[float] = json.loads(said[1])
    return found


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_on_paper_names_are_words_and_tables_fit(make_sweep: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = make_sweep(out, settings={0: {"strategy.size": 50}}, trials=2)
    for row in outcome["rows"]:
        more = [f"mAP@{k}" for k in (1, 5, 10, 50)] + ["R@10", "R@50", "MRR"]
        row["measures"] |= {name: {"mean": 12.3, "sd": 1.2} for name in more}
    (out / "sweep.json").write_text(json.dumps(outcome))
    page = write_report(out)
    page.write_text(page.read_text().replace("@media print", "@media screen"))  # chromium measures no paper
    widest = "all('.tables > .box > table', t => t.offsetWidth)"
    narrowest = "all('tbody th.name', c => c.offsetWidth)"
    main = "d.querySelector('main').clientWidth"
    room, table, name = measured(tmp_path, 688, f"[{main}, Math.max(...{widest}), Math.min(...{narrowest})]")
    assert table <= room and name > 80


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_phone_has_no_page_to_push_sideways(make_sweep: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_sweep(
        out, names={0: "a method with a name that goes on and on without an end in sight" * 2}, grids=True,
        figure={"kind": "bars", "y": ["final", "forgetting", "AC"]}, orders=(MANY_DOMAINS,),
        command="clplat sweep --" + "x" * 300,
        failures=[{"label": "l", "folder": "f" * 90, "why": "w" * 200}],
    )  # fmt: skip
    write_report(out)
    whole = "d.documentElement"
    drawn = "all('svg.forest, figure img', s => s.getBoundingClientRect().right)"
    repeat = "d.querySelector('#repeat').offsetHeight"
    width, room, height, right, last = measured(
        tmp_path, 360,
        f"[{whole}.scrollWidth, {whole}.clientWidth, {whole}.scrollHeight, Math.max(...{drawn}), {repeat}]",
    )  # fmt: skip
    assert 300 < room <= 360 and height > 3000
    assert width <= room and right <= room  # nothing is cut: neither intervals nor pictures
    assert last < 0.25 * height
