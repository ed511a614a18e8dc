"""Search a gallery with a trained run: a picture plus a change in words -> the nearest pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from clplat.assembly import assemble
from clplat.checkpoint import Weights, load_version
from clplat.claim import CONFIG
from clplat.config import read_config, resolve
from clplat.data.images import open_picture
from clplat.data.records import Picture
from clplat.errors import UserError, unknown_name
from clplat.evaluation.index import KINDS, build_index
from clplat.experiment import make_trainer
from clplat.features.settled import settled
from clplat.grid import draw_grid
from clplat.randomness import generator

__all__ = ["Found", "find_run", "search"]

#: Gallery pictures that an index looks up again to tell its recall.
SAMPLE = 256


@dataclass(frozen=True)
class Found:
    """The k nearest pictures, best first, with their cosines, and the grid that shows them.

    ``recall`` is the share of the exact k nearest that the index found for a sample of the gallery's own
    pictures; None where the search was exact.
    """

    pictures: list[Picture]
    scores: list[float]
    gallery: str
    grid: Image.Image
    recall: float | None = None


def find_run(run: str, root: Path) -> Path:
    """The folder of a run.

    Args:
        run: a folder, one inside ``root``, or the beginning of an MLflow run id in the store of ``root``.
        root: folder of runs.

    Raises:
        UserError: no such run, or several.
    """
    for folder in (Path(run), root / run):
        if (folder / CONFIG).exists():
            return folder
    known = sorted(path.parent.relative_to(root).as_posix() for path in root.rglob(CONFIG))
    folders = _logged(run, root)
    if len(folders) > 1:
        raise UserError(f"'{run}' begins several run ids in {root}; give more of it")
    if not folders:
        raise unknown_name("run", run, known or [f"none in {root}"])
    if not (folders[0] / CONFIG).exists():
        raise UserError(f"the folder of run '{run}' is gone: {folders[0]}")
    return folders[0]


def _logged(run: str, root: Path) -> list[Path]:
    """Folders of the MLflow runs whose id begins like this; none where nothing was ever logged."""
    from clplat.tracking.store import DATABASE, open_client, tracking_uri

    uri = tracking_uri(root)
    if uri.startswith("sqlite:") and not (root / DATABASE).exists():
        return []
    client = open_client(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [r for r in client.search_runs(experiments, max_results=5000) if r.info.run_id.startswith(run)]
    return [Path(r.data.tags["clplat.folder"]) for r in runs if "clplat.folder" in r.data.tags]


def search(
    folder: Path,
    reference: Path | str,
    text: str,
    *,
    domain: str | None = None,
    k: int = 10,
    version: int | None = None,
    index: str = "exact",
) -> Found:
    """Rank a test gallery of the run's scenario for one query.

    Args:
        folder: of a run with at least one finished version.
        reference: a picture file, or the key of a gallery picture.
        text: the change in words.
        domain: whose gallery; by default all galleries of the stream together.
        k: pictures to return.
        version: experiences trained; by default the newest.
        index: how the gallery is searched, see `build_index`.

    Raises:
        UserError: unknown run, domain, version or index; unreadable picture; a text that is empty or too
            long; an index that needs faiss, which is not installed.
    """
    if not text.strip():
        raise UserError("the text is empty: say what should change")
    if index not in KINDS:
        raise unknown_name("index", index, KINDS)
    there = sorted(int(path.stem) for path in (folder / "versions").glob("*.safetensors"))
    if not there:
        raise UserError(f"{folder} has no finished model version yet")
    chosen = there[-1] if version is None else version
    if chosen not in there:
        raise UserError(f"{folder} has no version {chosen} (there are: {', '.join(map(str, there))})")
    own_file = open_picture(Path(reference)) if Path(reference).is_file() else None
    config = resolve(read_config(folder / CONFIG))
    parts = assemble(config)
    retriever, evaluator = parts.retriever.eval(), parts.evaluator
    if domain is not None and domain not in evaluator.names:
        raise unknown_name("domain", domain, evaluator.names)
    if retriever.backbone.truncated([text]):
        raise UserError(
            f"the text is longer than the backbone's context of {retriever.backbone.context_length} tokens"
        )
    everything = {p.key: p for held in evaluator.sets for p in held.gallery.pictures}
    if own_file is not None:
        # What is computed from a picture is kept under its key; another picture may lie at this path later.
        content = hashlib.blake2b(Path(reference).read_bytes(), digest_size=16).hexdigest()
        shown = Picture(f"file/{content}", lambda: own_file)
    elif str(reference) in everything:
        shown = everything[str(reference)]
    else:
        raise UserError(f"'{reference}' is neither a picture file nor the key of a gallery picture")
    load_version(
        folder / "versions" / f"{chosen}.safetensors", make_trainer(config, parts), Weights(parts.retriever)
    )
    held = [s for name, s in zip(evaluator.names, evaluator.sets, strict=True) if domain in (None, name)]
    pictures = list({p.key: p for s in held for p in s.gallery.pictures}.values())
    with torch.inference_mode(), settled():  # so that the next search finds the gallery embedded
        pixels = parts.pixels.get([shown], again=False)
        query = retriever.encode_queries(pixels, retriever.backbone.tokenize([text])).cpu()
        gallery = evaluator.images(retriever, pictures)
    if parts.features is not None:
        parts.features.store.flush()
    own = [i for i, p in enumerate(pictures) if p.key == shown.key]
    k = min(k, len(pictures))
    engine = build_index(gallery, index, config["seed"])
    best = [i for i in engine.search(query, k, [own])[0].tolist() if i >= 0]
    recall = None
    if index != "exact":
        draw = torch.randperm(len(gallery), generator=generator(config["seed"], "recall"))[:SAMPLE]
        recall = engine.recall(gallery[draw], k)
    found = [pictures[i] for i in best]
    where = domain or "all domains"
    grid = draw_grid([(where, shown, text, [(p, None) for p in found])])
    return Found(found, [float(query[0] @ gallery[i]) for i in best], where, grid, recall)
