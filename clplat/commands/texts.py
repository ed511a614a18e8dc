"""``clplat texts``: captions and rewritten captions of a stream, in a table."""

from __future__ import annotations

import io
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clplat.commands import at_least, command, option, positive, print_table
from clplat.errors import unknown_name

_ACTIONS = ("write", "show")
_KINDS = ("captions", "galleries", "rewritten")


@command(
    option("action ACTION", ", ".join(_ACTIONS)),
    option(
        "--to FILE", "the table, .jsonl; rows that it has are kept", type=Path, default=Path("texts.jsonl")
    ),
    option(
        "--what KINDS",
        "write: captions of references, of galleries and answers too, rewritten ones; by comma",
        default="captions,rewritten",
    ),
    option("--number N", "write: rewritten captions of each query", type=at_least(1, 100), default=1),
    option("--endpoint URL", "write: a server that speaks OpenAI's chat completions, instead of rules"),
    option("--model NAME", "write: the model of that server", default="default"),
    option("--prompt FILE", "write: the question of rewriting, with {caption} and {text}", type=Path),
    option("--timeout SECONDS", "write: of one question", type=positive, default=60.0),
    option("--retries N", "write: of a question", type=at_least(0, 20), default=3),
    option("--elsewhere", "write: allow a server on another machine", action="store_true"),
    parts=True,
)
def texts(options: Namespace) -> int:
    """captions of a stream, and captions as they would be after each query's change: write or show a table"""
    if options.action not in _ACTIONS:
        raise unknown_name("action", options.action, _ACTIONS)
    return _show(options.to) if options.action == "show" else _write(options)


def _show(path: Path) -> int:
    from clplat.data.text_table import TextTable

    table = TextTable.read(path)
    said = table.said()
    print(f"{said['rows']:,} rows, {said['texts']:,} texts, fingerprint {said['fingerprint']}")
    for one in table.made:
        print(", ".join(f"{name} {value}" for name, value in one.items()))
    shown = [[*key, " | ".join(rows)] for key, rows in list(table.rows.items())[:8]]
    print_table(["picture", "text", "texts"], shown, 3)
    return 0


def _write(options: Namespace) -> int:
    from clplat.config.resolve import resolve
    from clplat.data.text_writing import TextWriter
    from clplat.files import read_text
    from clplat.mechanisms.text_prompts import REWRITE

    kinds = [kind.strip() for kind in options.what.split(",")]
    for kind in kinds:
        if kind not in _KINDS:
            raise unknown_name("kind of texts", kind, _KINDS)
    prompt = read_text(options.prompt) if options.prompt else REWRITE
    source = _Rules(options.number) if options.endpoint is None else _Asked(options, prompt)
    domains, _ = resolve(options.raw).make("scenario").build()
    pictures, changes = _wanted(domains, kinds)
    lost: list[str] = []
    with TextWriter(options.to, source.made(kinds)) as table:
        fresh = [picture for key, picture in pictures.items() if not table.has(key)]
        for picture in _counted(fresh, "pictures"):
            _add(table, picture.key, "", source.caption(picture), lost)
        asked = [(key, text, own) for (key, text), own in changes.items() if not table.has(key, text)]
        for key, text, picture in _counted(asked, "changes"):
            captions = table.table.get(key) or source.caption(picture)
            _add(table, key, text, source.rewritten(captions, text), lost)
    print(f"{options.to}: {len(table.table.rows):,} rows, fingerprint {table.table.fingerprint}")
    if lost:
        print(f"{len(lost):,} rows have no text, the first: {lost[0]}")
    return 1 if lost else 0


def _add(table: Any, key: str, text: str, found: Sequence[str], lost: list[str]) -> None:
    found = [one for one in dict.fromkeys(found) if one]
    if found:
        table.add(key, text, found)
    else:
        lost.append(f"picture '{key}'" + (f" with '{text[:80]}'" if text else ""))


def _wanted(
    domains: Sequence[Any], kinds: Sequence[str]
) -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
    """Pictures that need a caption, by key, and changes of pictures that need one, by key and text."""
    asked = [(q.reference, q.said) for d in domains for held in d.sets.values() for q in held.queries]
    asked += [(e.query.picture, e.query.said) for d in domains for e in d.train]
    asked = [(picture, said) for picture, said in asked if picture is not None]
    pictures = {picture.key: picture for picture, _ in asked} if "captions" in kinds else {}
    if "galleries" in kinds:
        items = [item for d in domains for held in d.sets.values() for item in held.gallery.items]
        items += [example.target for d in domains for example in d.train]
        pictures |= {item.picture.key: item.picture for item in items if item.picture is not None}
    pairs = ((picture, text) for picture, said in asked for text in said)
    changes = (
        {(picture.key, text): picture for picture, text in pairs if text} if "rewritten" in kinds else {}
    )
    return pictures, changes


def _counted(items: Sequence[Any], what: str) -> Iterator[Any]:
    for number, item in enumerate(items, 1):
        yield item
        if sys.stderr.isatty():
            end = "\n" if number == len(items) else ""
            print(f"\r{number:,} of {len(items):,} {what}", end=end, file=sys.stderr, flush=True)


class _Rules:
    """The stream's own captions, rewritten by rules."""

    def __init__(self, number: int) -> None:
        self.number = number

    def made(self, kinds: Sequence[str]) -> list[dict[str, Any]]:
        return [{"what": kind, "by": "rules"} for kind in kinds]

    def caption(self, picture: Any) -> list[str]:
        return [picture.caption or ""]

    def rewritten(self, captions: Sequence[str], text: str) -> Sequence[str]:
        from clplat.mechanisms.rewriting import rewritings

        return rewritings(captions[0], text, self.number) if captions[0] else []


class _Asked:
    """What a captioner and a language model behind an endpoint say."""

    def __init__(self, options: Namespace, prompt: str) -> None:
        from clplat.data.endpoint import Endpoint

        self.server = Endpoint(
            options.endpoint,
            options.model,
            options.timeout,
            options.retries,
            key=os.environ.get("CLPLAT_ENDPOINT_KEY", ""),
            elsewhere=options.elsewhere,
        )
        self.prompt, self.number = prompt, options.number

    def made(self, kinds: Sequence[str]) -> list[dict[str, Any]]:
        from clplat.mechanisms.text_prompts import CAPTION, digest

        prompts = {kind: self.prompt if kind == "rewritten" else CAPTION for kind in kinds}
        return [
            {"what": kind, "by": self.server.model, "prompt": digest(prompt)}
            for kind, prompt in prompts.items()
        ]

    def caption(self, picture: Any) -> list[str]:
        from clplat.mechanisms.text_prompts import CAPTION

        content = io.BytesIO()
        picture.read().convert("RGB").save(content, "PNG")
        return [self.server.ask(CAPTION, content.getvalue())]

    def rewritten(self, captions: Sequence[str], text: str) -> list[str]:
        from clplat.mechanisms.text_prompts import filled

        heat = 0.7 if self.number > 1 else 0.0
        given = [captions[k % len(captions)] for k in range(self.number)]
        asked = [filled(self.prompt, caption=caption, text=text) for caption in given]
        return [self.server.ask(question, seed=k, heat=heat) for k, question in enumerate(asked)]
