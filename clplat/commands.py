"""What the commands do. Heavy libraries load only in the command that needs them."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.errors import UserError, unknown_name

if TYPE_CHECKING:
    from clplat.cache.store import TableInfo
    from clplat.sweep import Sweep

__all__ = [
    "cache",
    "compare",
    "demo",
    "list_parts",
    "pretrain",
    "report",
    "run",
    "search",
    "sweep",
    "track",
    "ui",
]

CACHE_ACTIONS = ("info", "verify", "clear")


def _raw(options: Namespace, rest: list[str]) -> dict[str, Any] | None:
    """The raw configuration of dotted options; None when help on a part was asked for and printed."""
    from clplat.config.resolve import help_on, parse_arguments

    for place, word in enumerate(rest):
        slot, _, tail = word.removeprefix("--").partition(".")
        key, _, name = tail.partition("=")
        if key == "help":
            after = [w for w in rest[place + 1 : place + 2] if not w.startswith("--")]
            chosen = [rest[i + 1] for i, w in enumerate(rest[:-1]) if w == f"--{slot}"]
            print(help_on(slot, next(iter([*filter(None, [name]), *after, *chosen]), "")))
            return None
    return parse_arguments(rest, also=options.own)


def run(options: Namespace, rest: list[str]) -> int:
    """One experiment."""
    raw = _raw(options, rest)
    if raw is None:
        return 0
    from clplat.config.resolve import resolve

    config = resolve(raw)
    if options.print_config:
        import yaml

        print(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), end="")
        return 0
    from clplat.runs.run_folder import default_folder
    from clplat.tables.comparison import plain
    from clplat.terminal import Terminal
    from clplat.tracking import Tracker, from_results
    from clplat.tracking.listener import tracked

    with Terminal() as terminal:
        folder = options.out or default_folder(config)
        tracker = None if options.no_track else Tracker(folder.parent, warn=terminal.say)
        if tracker is not None:
            tracker.start_background()  # while we load torch
        from clplat.runs.experiment import run as run_experiment

        listener = tracked(terminal.listener(config["strategy"]["name"]), tracker, folder)
        result = run_experiment(config, folder, listener=listener, checkpoint_every=options.checkpoint_every)
        if tracker is not None:
            tracker.close()
    print(plain(from_results([result])))
    print(f"result: {folder / 'result.json'}")
    return 0


def sweep(options: Namespace, rest: list[str]) -> int:
    """Methods x seeds x stream orders, each method tuned first where there is a budget for it."""
    raw = _raw(options, rest)
    if raw is None:
        return 0
    from clplat.sweep.flags import from_flags

    return _swept(from_flags(options, raw, options.start), options)


def demo(options: Namespace, rest: list[str]) -> int:
    """The comparison that needs nothing but this package."""
    raw = _raw(options, rest)
    if raw is None:
        return 0
    from clplat.config.resolve import merge, read_config
    from clplat.sweep import Sweep
    from clplat.sweep.flags import refuse_named

    instead = "the demo compares seven strategies with seed 0; clplat sweep takes others"
    refuse_named(raw, "strategy", instead)
    refuse_named(raw, "seed", instead)
    base = merge(read_config(Path(__file__).parent / "demo.yaml"), raw)
    question = "Seven strategies on a short stream, one seed each: what does a comparison look like?"
    return _swept(Sweep(name="demo", question=question, base=base, seeds=[0], orders=1), options)


def _swept(sweep: Sweep, options: Namespace) -> int:
    """Run a sweep and show it: table, what is significant, failures, the report and the links into MLflow."""
    from rich.console import Console

    from clplat.sweep.run import run_sweep
    from clplat.tables.sweep import plain, render
    from clplat.terminal import plain_output
    from clplat.tracking import links
    from clplat.tracking.sweeps import SweepTracker
    from clplat.tuning.storage import without_password

    storage, said = getattr(options, "storage", None), options.said
    outcome = run_sweep(
        sweep,
        options.out,
        workers=options.workers,
        storage=storage,
        launcher=getattr(options, "launcher", "local"),
        tracker=None if options.no_track else SweepTracker,
        command=said if storage is None else said.replace(storage, without_password(storage)),
    )
    if outcome["rows"]:
        if plain_output():
            print(plain(outcome))
        else:
            Console().print(render(outcome))
        print(outcome["sentence"])
        print(f"report: {options.out / 'report.html'}")
    for failure in outcome["failures"]:
        print(f"clplat: {failure['label']}: {' '.join(failure['why'].split())}", file=sys.stderr)
    if not options.no_track:
        for name, link in links(options.out).items():
            print(f"{name}: {link}")
        print(f"(start the page with: clplat ui --out {options.out})")
    return 2 if outcome["failures"] else 0


def report(options: Namespace, rest: list[str]) -> int:
    """The report of a sweep, read anew from its runs."""
    from clplat.report import save_figure, write_report
    from clplat.sweep.run import PLAN, gather

    if (options.out / PLAN).exists():
        gather(options.out, options.storage)
    save_figure(options.out)
    print(write_report(options.out))
    return 0


def compare(options: Namespace, rest: list[str]) -> int:
    """The table of finished runs."""
    from clplat.tables.comparison import plain, winner_line
    from clplat.tracking import comparison

    rows = comparison(options.out, options.scenario)
    if not rows:
        raise UserError(f"no finished runs in {options.out}; run some, or log them with clplat track")
    print(plain(rows))
    print(winner_line(rows))
    return 0


def ui(options: Namespace, rest: list[str]) -> int:
    """MLflow's pages."""
    from clplat.tracking import serve

    return serve(options.out, options.port)


def list_parts(options: Namespace, rest: list[str]) -> int:
    """The parts of one kind, the recipes or the systems, a line each."""
    lines = _parts(options) if options.kind not in ("recipes", "systems") else _recipes(options)
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name:{width}}  {text}")
    return 0


def _parts(options: Namespace) -> list[tuple[str, str]]:
    from clplat import registry

    lines, places = [], registry.places(options.kind)
    families = sorted({place.family for place in places.values()} - {""})
    if options.family is not None and options.family not in families:
        raise unknown_name(f"family of {options.kind}", options.family, families)
    for name, place in places.items():
        if options.family in (None, place.family):
            try:
                lines.append((name, registry.describe(options.kind, name)))
            except UserError as error:  # one broken package must not hide the others
                lines.append((name, f"({error})"))
    return lines


def _recipes(options: Namespace) -> list[tuple[str, str]]:
    from clplat.config.recipes import recipes

    found = recipes(options.family)
    if options.kind == "recipes":
        return [(r.name, f"{r.system}: {r.paper}") for r in found]
    lines = [(r.system, f"--recipe {r.name} ({r.match}): {r.paper}") for r in found]
    return sorted(lines, key=lambda line: line[0].lower())


def search(options: Namespace, rest: list[str]) -> int:
    """The nearest pictures of a gallery, as a table and as a picture."""
    import tempfile

    from clplat.files import write_atomically
    from clplat.search import find_run
    from clplat.search import search as search_gallery
    from clplat.tracking import tracking_uri
    from clplat.tracking.models import download

    if options.model is not None and options.model_version is not None:
        raise UserError("--model-version goes with --run; a model of the registry is one version")
    with tempfile.TemporaryDirectory() as kept:
        if options.model is not None:
            folder = download(options.model, tracking_uri(options.out), Path(kept))
        else:
            folder = find_run(options.run, options.out)
        found = search_gallery(
            folder,
            options.reference,
            options.text,
            domain=options.domain,
            k=options.k,
            version=options.model_version,
            index=options.index,
        )
    print(f"{'rank':>4}  {'cosine':>7}  picture")
    for rank, (picture, score) in enumerate(zip(found.pictures, found.scores, strict=True), start=1):
        print(f"{rank:4d}  {score:7.4f}  {picture.key}  {picture.caption or ''}".rstrip())
    write_atomically(options.grid, lambda path: found.grid.save(path, format="PNG"))
    if found.recall is not None:
        print(f"approximate index {options.index}: finds {found.recall:.1%} of the exact {options.k} nearest")
    print(f"grid: {options.grid}")
    return 0


def cache(options: Namespace, rest: list[str]) -> int:
    """The feature store's contents, health and size."""
    if options.action not in CACHE_ACTIONS:
        raise unknown_name("action", options.action, CACHE_ACTIONS)
    if options.older_than is not None and options.action != "clear":
        raise UserError(f"--older-than is for clplat cache clear, not for {options.action}")
    from clplat.cache.maintenance import in_words
    from clplat.cache.store import Store

    store = Store.default()
    if store.folder is None:
        raise UserError(store.quota.problem or "nothing is kept on disk: CLPLAT_CACHE_LIMIT is 0")
    if options.action == "clear":
        print(f"freed {in_words(store.clear(options.older_than))}")
    if options.action == "verify":
        problems = store.verify()
        for problem in problems:
            print(problem)
        if problems:
            print(
                "delete these files, or everything with clplat cache clear: what is missing is computed again"
            )
            return 1
    tables = store.info()
    if options.action == "info" and tables:
        _print_tables(tables)
    count = f"{len(tables)} table{'s' if len(tables) != 1 else ''}"
    size = in_words(sum(table.bytes for table in tables))
    whole = ", all whole" if options.action == "verify" else ""
    print(f"{count}, {size} of at most {in_words(store.quota.limit_bytes)} in {store.folder}{whole}")
    return 0


def _print_tables(tables: list[TableInfo]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from clplat.cache.maintenance import listing
    from clplat.tables.text import aligned
    from clplat.terminal import plain_output

    head, body = listing(tables)
    if plain_output():
        print(aligned(head, body, 3))
        return
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(head):
        drawn.add_column(name, justify="right" if i > 2 else "left", overflow="fold")
    for line in body:
        drawn.add_row(*line)
    Console(highlight=False).print(drawn)


def track(options: Namespace, rest: list[str]) -> int:
    """Log results that are on disk."""
    from clplat.files import read_json
    from clplat.tracking import log_result

    # `clplat track runs/*` names MLflow's own files as well.
    folders = [folder for folder in options.folders if (folder / "result.json").exists()]
    code = 0
    for folder in folders or options.folders:
        run_id = log_result(read_json(folder / "result.json"), folder)
        print(f"{folder}: " + (f"run {run_id}" if run_id else "not logged"))
        code = code if run_id else 2
    return code


def pretrain(options: Namespace, rest: list[str]) -> int:
    """A small CLIP of one's own."""
    from clplat.pretrain import pretrain as train

    train(
        options.out,
        source=options.source,
        pairs=options.pairs,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        config=options.config,
        seed=options.seed,
    )
    print(f"use it with: --backbone local-dir:{options.out}")
    return 0
