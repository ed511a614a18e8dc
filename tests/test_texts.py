"""Texts of a stream: questions over real HTTP, ``clplat texts``, and what an experiment says of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clplat import cli
from clplat.config.resolve import resolve
from clplat.data.endpoint import Endpoint
from clplat.data.text_table import LONGEST, TextTable
from clplat.errors import UserError


class Server:
    """Answers with what it is told, in order, and then with the last of it; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                outer.headers.append({"path": self.path, **self.headers})
                status, body = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing in the output of tests."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def says(self, *texts: str | int) -> None:
        """Texts as completions, numbers as bare statuses."""
        self.answers = [(t, b"no") if isinstance(t, int) else (200, completion(t)) for t in texts]


def completion(text: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def client(server: Server, **options: Any) -> Endpoint:
    return Endpoint(server.url, "small", timeout=10, pause=0.0, **options)


def test_a_question_with_its_picture_and_its_answer(server: Server, monkeypatch: Any) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # a server of this machine needs none
    server.says("Thought: two things.\nEdited Description: a bag: blue,\x07  with studs\n\nMore.")
    asked = client(server, key="secret").ask("what?", b"\xff\xd8picture", seed=3)
    assert asked == "a bag: blue, with studs"  # all behind the first colon
    (body,), (headers,) = server.asked, server.headers
    assert headers["path"] == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret"
    assert body["model"] == "small" and body["seed"] == 3
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image_url"]
    assert body["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert "secret" not in json.dumps(body)


def test_what_passes_is_tried_again(server: Server) -> None:
    server.answers = [
        (503, b""),
        (200, b"{"),
        (200, completion(None)),
        (429, b""),
        (200, completion("a hat")),
    ]
    assert client(server, retries=4).ask("what?") == "a hat" and len(server.asked) == 5
    server.says(503)
    with pytest.raises(UserError, match="did not answer in 2 tries: status 503"):
        client(server, retries=1).ask("what?")
    with pytest.raises(UserError, match="did not answer in 1 tries"):
        Endpoint("http://127.0.0.1:1/v1", timeout=5, retries=0).ask("what?")


def test_what_is_refused_is_told_once_and_no_redirect_is_followed(server: Server) -> None:
    for status in (400, 302):
        server.says(status)
        before = len(server.asked)
        with pytest.raises(UserError, match=f"refuses the question with status {status}: no"):
            client(server).ask("what?")
        assert len(server.asked) == before + 1


def test_answers_have_limits(server: Server) -> None:
    server.says("x" * (LONGEST + 1))
    assert client(server).ask("what?") == ""
    server.answers = [(200, b'{"x": "' + b"y" * (1 << 20) + b'"}')]
    with pytest.raises(UserError, match="more than 1048576 bytes"):
        client(server, retries=0).ask("what?")


def test_another_machine_is_named_on_purpose() -> None:
    for url in ("http://example.org/v1", "http://10.0.0.1/v1", "http://127.0.0.1.evil.net/v1"):
        with pytest.raises(UserError, match="another machine"):
            Endpoint(url)
        assert Endpoint(url, elsewhere=True).url == url
    for url in ("http://localhost:1/v1", "http://127.0.0.1/v1", "http://[::1]:8000/v1"):
        assert Endpoint(url).url == url
    for url in ("file:///etc/passwd", "nowhere", "http://"):
        with pytest.raises(UserError, match="no address"):
            Endpoint(url, elsewhere=True)


STREAM = (
    "--scenario catalogue --scenario.domains 1 --scenario.train 4 --scenario.queries 3 --scenario.gallery 20"
)
SMALL = [*STREAM.split(), "--scenario.size", "16"]


def texts(*words: str) -> int:
    return cli.main(["texts", *words, *SMALL])


def test_rules_write_a_table_and_add_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "t.jsonl"
    assert texts("write", "--to", str(path), "--what", "captions") == 0
    alone = TextTable.read(path)
    assert all(text == "" for _, text in alone.rows) and alone.made == [{"what": "captions", "by": "rules"}]
    assert texts("write", "--to", str(path), "--what", "captions,rewritten,galleries", "--number", "2") == 0
    table = TextTable.read(path)
    assert alone.rows.items() < table.rows.items()
    assert {len(held) for (_, text), held in table.rows.items() if text} == {2}
    assert f"fingerprint {table.fingerprint}" in capsys.readouterr().out
    assert cli.main(["texts", "show", "--to", str(path)]) == 0
    assert f"{len(table.rows)} rows" in capsys.readouterr().out


def test_a_server_is_asked_for_what_is_missing_and_an_experiment_reads_it(
    tmp_path: Path, server: Server, small_backbone: Path, capsys: Any
) -> None:
    from clplat.runs.assembly import assemble
    from clplat.runs.blank import blank, changed_since

    path, asked = tmp_path / "t.jsonl", server.asked
    server.says("a red thing")
    given = ["write", "--to", str(path), "--endpoint", server.url, "--model", "small", "--retries", "0"]
    assert texts(*given) == 0
    table, count = TextTable.read(path), len(asked)
    seen = [len(body["messages"][0]["content"]) == 2 for body in asked]
    shown = sum(text == "" for _, text in table.rows)
    assert seen == [True] * shown + [False] * (count - shown) and count == len(table.rows) > shown
    assert "A picture shows: a red thing" in asked[-1]["messages"][0]["content"][0]["text"]
    assert [one["what"] for one in table.made] == ["captions", "rewritten"]
    assert all(one["by"] == "small" and len(one["prompt"]) == 12 for one in table.made)
    assert texts(*given) == 0 and len(asked) == count, "what is there was asked again"
    assert texts(*given, "--model", "other") == 2
    assert "were written otherwise (by small" in capsys.readouterr().err

    raw = {
        "scenario": {"name": "catalogue", "domains": 1, "train": 4, "queries": 3, "gallery": 20, "size": 16}
    }
    raw |= {"composer": {"name": "rewritten", "texts": str(path)}, "adapter": "none", "strategy": "frozen"}
    config = resolve({**raw, "backbone": f"local-dir:{small_backbone}"})
    result = blank(config, assemble(config))
    assert result["extra_data"]["texts"] == table.said()
    assert result["fingerprints"]["texts"] == table.fingerprint
    stand_in = resolve({**config.as_dict(), "composer": "rewritten"})
    other = blank(stand_in, assemble(stand_in))
    assert (
        other["extra_data"] == {"texts": {"fingerprint": "stand-in"}} and "texts" not in other["fingerprints"]
    )
    assert changed_since(result, other) == ["the table of texts"]


def test_what_a_server_does_not_say_is_counted(tmp_path: Path, server: Server, capsys: Any) -> None:
    server.says("")
    assert (
        texts("write", "--to", str(tmp_path / "t.jsonl"), "--what", "captions", "--endpoint", server.url) == 1
    )
    assert "rows have no text, the first: picture 'catalogue/" in capsys.readouterr().out
