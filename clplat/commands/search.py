"""``clplat search``: a gallery is searched with a trained run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from clplat.commands.options import add_out, at_least
from clplat.errors import UserError

__all__ = ["add_search", "search"]


def add_search(parser: ArgumentParser) -> None:
    """The options of ``clplat search``."""
    add_out(parser, "runs")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="folder of a run, or an MLflow run id")
    text = "of MLflow's registry: models:/NAME@champion or models:/NAME/1"
    which.add_argument("--model", metavar="MODEL", help=text)
    text = "a picture file, or the key of a gallery picture"
    parser.add_argument("--reference", required=True, metavar="PICTURE", help=text)
    parser.add_argument("--text", required=True, help="the change in words")
    parser.add_argument("--domain", help="search the gallery of this domain only (default: all)")
    parser.add_argument("--k", type=at_least(1), default=10, help="pictures to find (default: %(default)s)")
    text = "experiences trained (default: the newest)"
    parser.add_argument("--model-version", type=at_least(0), metavar="N", help=text)
    text = "exact, or an approximate faiss index: hnsw, ivf (extra [index]; default: %(default)s)"
    parser.add_argument("--index", default="exact", metavar="NAME", help=text)
    text = "where the picture goes (default: %(default)s)"
    parser.add_argument("--grid", type=Path, default=Path("search.png"), metavar="FILE", help=text)


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
