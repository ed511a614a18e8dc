"""From a run with a hidden test set to the files of a server, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clplat.cli import main
from clplat.evaluation.lists import load_lists
from clplat.evaluation.submissions import FORMATS, File, Format
from clplat.runs.experiment import run

SCENARIO = '''
from clplat.data.fingerprint import stream_fingerprint
from clplat.data.records import Domain, Gallery, Picture, Query, RetrievalSet
from clplat.testing import tiny_domains
from clplat.training.streams import build_benchmark


class Hidden:
    """A stream without training data: validation is known, the answers of the test set are not."""

    def domains(self):
        [one] = tiny_domains(1)
        named = {p.key: Picture(f"hidden/{i}.png", p.load) for i, p in enumerate(one.test.gallery.pictures)}
        asked = [
            Query(str(i), named[q.reference.key], q.text, ()) for i, q in enumerate(one.test.queries)
        ]
        gallery = Gallery("hidden", tuple(named.values()))
        hidden = RetrievalSet(tuple(asked), gallery, one.test.protocol, "hidden")
        return [Domain(one.name, sets={"val": one.val, "test": hidden})]

    def benchmark(self):
        return build_benchmark(self.domains())

    def fingerprint(self):
        return stream_fingerprint(self.domains())
'''


def test_a_hidden_set_is_ranked_kept_and_never_scored(
    small_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "small", Format((File("small", 4),), numbered=True))
    (tmp_path / "hidden_stream.py").write_text(SCENARIO)
    monkeypatch.syspath_prepend(tmp_path)
    config = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": "hidden_stream:Hidden",
        "strategy": "frozen",
        "probes": "none",
        "evaluation": {"split": "val"},
    }
    result = run(config, tmp_path / "run")
    assert result["sets"]["test"]["protocol"]["labels"] == "hidden"
    assert result["sets"]["test"]["metrics"] == {} and result["sets"]["test"]["ties"] == [[None], [None]]
    assert len(result["metrics"]["R@1"]) == 2 and result["protocol"]["split"] == "val"
    lists = load_lists(tmp_path / "run/lists/1.safetensors")["test"]["frame-none"]
    words = ["submit", str(tmp_path / "run"), "--format", "small", "--to", str(tmp_path / "out")]
    assert main(words) == 0
    written = json.loads((tmp_path / "out/small.json").read_text())
    assert capsys.readouterr().out.split() == [str(tmp_path / "out/small.json")]
    assert set(written) == set("012345") and all(len(names) == 4 for names in written.values())
    assert lists.rows.shape == (6, 12) and (lists.rows[:, -1] == -1).all(), "all but the reference"
    assert main([*words, "--split", "tset"]) == 2
    assert "unknown set 'tset'; did you mean 'test'" in capsys.readouterr().err
    assert main([*words[:2], "--format", "circo"]) == 2
