"""``clplat compare``, ``ui``, ``list``, ``search``, ``submit``, ``cache`` and ``pretrain``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from clplat.commands import TRUST, at_least, command, one_of, option, out, positive, print_table
from clplat.errors import UserError, unknown_name
from clplat.kinds import every_kind

_LISTED = ", ".join([*(kind.plural for kind in every_kind() if kind.plural), "recipes", "systems"])
_ACTIONS = ("info", "verify", "clear")


@command(
    out("runs"),
    option("--scenario", "only runs on this scenario"),
    option("--format NAME", "text, csv, latex or markdown", default="text"),
)
def compare(options: Namespace) -> int:
    """the table of finished runs, from MLflow"""
    from clplat.tables.comparison import plain
    from clplat.tables.export import FORMATS
    from clplat.tracking import compared

    if options.format not in FORMATS:
        raise unknown_name("format", options.format, FORMATS)
    rows, said = compared(options.out, options.scenario)
    if not rows:
        raise UserError(f"no finished runs in {options.out}; run some, or log them with clplat track")
    print(plain(rows, options.format))
    if options.format == "text":
        print(said)
    return 0


@command(
    out("runs"),
    option("--port", "where it is taken, another one (default: 5000)", type=at_least(1, 65535), default=5000),
    option("--open", "show the comparison in your browser", action="store_true"),
)
def ui(options: Namespace) -> int:
    """start MLflow on this machine and print the link to the comparison"""
    import webbrowser

    from clplat.tracking import serve

    return serve(options.out, options.port, show=webbrowser.open if options.open else None)


@command(
    option("kind KIND", _LISTED),
    option("family FAMILY", "only this family, of recipes or parts", nargs="?"),
    text=f"what exists: {_LISTED}",
)
def list_(options: Namespace) -> int:
    lines = _parts(options) if options.kind not in ("recipes", "systems") else _recipes(options)
    width = max((len(name) for name, _ in lines), default=0)
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
        wide = max((len(r.family) for r in found), default=0)
        said = {r.name: r.paper if r.paper.startswith(r.system) else f"{r.system}: {r.paper}" for r in found}
        found = sorted(found, key=lambda r: (r.family, r.name))
        return [(r.name, f"{r.family:{wide}}  {said[r.name]}") for r in found]
    lines = [(r.system, f"--recipe {r.name} ({r.match}): {r.paper}") for r in found]
    return sorted(lines, key=lambda line: line[0].lower())


@command(
    out("runs"),
    one_of(
        option("--run", "folder of a run, or an MLflow run id"),
        option("--model MODEL", "of MLflow's registry: models:/NAME@champion or models:/NAME/1"),
    ),
    option("--reference PICTURE", "a picture file, or the key of a gallery picture; none: search by words"),
    option("--text", "the change in words; none: search by picture"),
    option("--list", "print the keys of the gallery's pictures and stop", action="store_true"),
    option("--domain", "search the gallery of this domain only (default: all)"),
    option("--k", "pictures to find", type=at_least(1), default=10),
    option("--model-version N", "experiences trained (default: the newest)", type=at_least(0)),
    option(
        "--index NAME",
        "exact, or an approximate faiss index: hnsw, ivf (extra [index]; default: %(default)s)",
        default="exact",
    ),
    option("--grid FILE", "where the picture goes", type=Path, default=Path("search.png")),
    TRUST,
)
def search(options: Namespace) -> int:
    """search a gallery with a trained run: a table and a picture"""
    import tempfile

    from clplat.files import write_atomically
    from clplat.search import gallery_of
    from clplat.search import search as search_gallery
    from clplat.tracking import tracking_uri
    from clplat.tracking.models import download
    from clplat.tracking.run_folders import find_run

    if options.model is not None and options.model_version is not None:
        raise UserError("--model-version goes with --run; a model of the registry is one version")
    if not options.grid.name:
        raise UserError(f"--grid takes the name of a file, not '{options.grid}'")
    with tempfile.TemporaryDirectory() as kept:
        if options.model is not None:
            folder = download(options.model, tracking_uri(options.out), Path(kept))
        else:
            folder = find_run(options.run, options.out)
        if options.list:
            for key, words in gallery_of(folder, options.domain):
                print(f"{key}  {words}".rstrip())
            return 0
        found = search_gallery(
            folder,
            options.reference,
            options.text,
            domain=options.domain,
            k=options.k,
            version=options.model_version,
            index=options.index,
        )
    print(f"{'rank':>4}  {'cosine':>7}  {'picture' if found.pictures else 'text'}")
    for rank, (item, score) in enumerate(zip(found.items, found.scores, strict=True), start=1):
        said = item.text if item.picture is None else item.picture.caption
        print(f"{rank:4d}  {score:7.4f}  {item.key}  {said or ''}".rstrip())
    write_atomically(options.grid, lambda path: found.grid.save(path, format="PNG"))
    if found.recall is not None:
        print(f"approximate index {options.index}: finds {found.recall:.1%} of the exact {options.k} nearest")
    print(f"grid: {options.grid}")
    return 0


@command(
    option("run RUN", "folder of a run"),
    option("--split", "the set of queries (default: %(default)s)", default="test"),
    option("--format NAME", "circo or cirr (default: what the set's protocol is named after)"),
    option("--domain", "whose queries, where several domains have the set"),
    option("--model-version N", "experiences trained (default: the newest)", type=at_least(0)),
    option("--to FOLDER", "where the files go (default: %(default)s)", type=Path, default=Path("submission")),
    TRUST,
)
def submit(options: Namespace) -> int:
    """write the files for a benchmark's server, from the lists that a run kept"""
    from clplat.runs.submission import submit as write

    for path in write(
        Path(options.run),
        options.to,
        options.format or "",
        options.split,
        domain=options.domain or "",
        version=options.model_version,
    ):
        print(path)
    return 0


@command(
    option("action ACTION", ", ".join(_ACTIONS)),
    option("--older-than DAYS", "clear only what was not used for this many days", type=at_least(0)),
)
def cache(options: Namespace) -> int:
    """the feature store: what it holds, whether it is whole, and how to empty it"""
    action = options.action
    if action not in _ACTIONS:
        raise unknown_name("action", action, _ACTIONS)
    if options.older_than is not None and action != "clear":
        raise UserError(f"--older-than is for clplat cache clear, not for {action}")
    from clplat.cache.maintenance import in_words, listing
    from clplat.cache.store import Store

    store = Store.default()
    if store.folder is None:
        raise UserError(store.problem or "nothing is kept on disk: CLPLAT_CACHE_LIMIT is 0")
    if action == "clear":
        print(f"freed {in_words(store.clear(options.older_than))}")
    if action == "verify" and (problems := store.verify()):
        print("\n".join(problems))
        print("delete these files, or everything with clplat cache clear: what is missing is computed again")
        return 1
    tables = store.info()
    if action == "info" and tables:
        print_table(*listing(tables))
    count = f"{len(tables)} table{'s' if len(tables) != 1 else ''}"
    size = in_words(sum(table.bytes for table in tables))
    whole = ", all whole" if action == "verify" else ""
    print(f"{count}, {size} of at most {in_words(store.limit_bytes)} in {store.folder}{whole}")
    return 0


@command(
    option("--out", "folder, in open_clip's layout (default: in the cache, by what makes it)", type=Path),
    option("--source", "catalogue, a stream, a picture folder, a .jsonl/.csv/.tsv file", default="catalogue"),
    option("--preset", "tiny; small, coarse for photographs: model, epochs, batch, rate", default="tiny"),
    option("--config FILE", "an open_clip model configuration (default: the preset's)", type=Path),
    option("--pairs N", type=at_least(1), default=20000),
    option("--epochs N", type=at_least(1)),
    option("--batch-size N", type=at_least(1)),
    option("--seed N", type=at_least(0), default=0),
    option("--lr", "learning rate", type=positive),
)
def pretrain(options: Namespace) -> int:
    """train a small CLIP on captioned pictures; --backbone local-dir: loads it"""
    from clplat import registry

    train = registry.load("scenarios", "catalogue").pretraining()
    names = ("source", "pairs", "preset", "epochs", "batch_size", "lr", "config", "seed")
    made = train(options.out, **{name: getattr(options, name) for name in names})
    print(f"use it with: --backbone {made.name}")
    return 0
