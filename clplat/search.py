"""Search a gallery with a trained run: a picture plus a change in words -> the nearest pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image

from clplat.assembly import assemble
from clplat.checkpoint import Weights, load_version
from clplat.data.images import open_picture
from clplat.data.records import Picture
from clplat.errors import UserError, unknown_name
from clplat.evaluation.retrieval import top_k
from clplat.experiment import make_trainer
from clplat.grid import draw_grid

__all__ = ["Found", "find_run", "search"]


@dataclass(frozen=True)
class Found:
    """The k nearest pictures, best first, with their cosines, and the grid that shows them."""

    pictures: list[Picture]
    scores: list[float]
    gallery: str
    grid: Image.Image


def find_run(run: str, root: Path) -> Path:
    """The folder of a run: a path, or an MLflow run id (its beginning will do) in the store of ``root``."""
    if (Path(run) / "config.yaml").exists():
        return Path(run)
    if (root / run / "config.yaml").exists():
        return root / run
    from clplat.tracking.store import open_client, tracking_uri

    client = open_client(tracking_uri(root))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    matches = [r for r in client.search_runs(experiments, max_results=5000) if r.info.run_id.startswith(run)]
    folders = [Path(r.data.tags["clplat.folder"]) for r in matches if "clplat.folder" in r.data.tags]
    if len(folders) == 1 and (folders[0] / "config.yaml").exists():
        return folders[0]
    if len(folders) > 1:
        raise UserError(f"'{run}' begins several run ids in {root}; give more of it")
    known = sorted(path.parent.name for path in root.glob("*/config.yaml"))
    raise (
        unknown_name("run", run, known)
        if not folders
        else UserError(f"the folder of run '{run}' is gone: {folders[0]}")
    )


def search(
    folder: Path,
    reference: Path | str,
    text: str,
    *,
    domain: str | None = None,
    k: int = 10,
    version: int | None = None,
) -> Found:
    """Rank a test gallery of the run's scenario for one query.

    Args:
        folder: of a run with at least one finished version.
        reference: a picture file, or the key of a gallery picture.
        text: the change in words.
        domain: whose gallery; by default all galleries of the stream together.
        k: pictures to return.
        version: experiences trained; by default the newest.

    Raises:
        UserError: unknown run, domain or version; unreadable picture; a text that is too long.
    """
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    there = sorted(int(path.stem) for path in (folder / "versions").glob("*.safetensors"))
    if not there:
        raise UserError(f"{folder} has no finished model version yet")
    chosen = there[-1] if version is None else version
    if chosen not in there:
        raise UserError(f"{folder} has no version {chosen} (there are: {', '.join(map(str, there))})")
    parts = assemble(config)
    load_version(
        folder / "versions" / f"{chosen}.safetensors", make_trainer(config, parts), Weights(parts.retriever)
    )
    retriever, evaluator = parts.retriever.eval(), parts.evaluator
    if domain is not None and domain not in evaluator.names:
        raise unknown_name("domain", domain, evaluator.names)
    held = [s for name, s in zip(evaluator.names, evaluator.sets, strict=True) if domain in (None, name)]
    pictures = list({p.key: p for s in held for p in s.gallery.pictures}.values())
    if retriever.backbone.truncated([text]):
        raise UserError(
            f"the text is longer than the backbone's context of {retriever.backbone.context_length} tokens"
        )
    shown = {p.key: p for p in pictures}.get(str(reference)) or _from_file(Path(reference))
    with torch.inference_mode():
        tokens = retriever.backbone.tokenize([text]).to(config["device"])
        query = retriever.encode_queries(parts.pixels.get([shown]).to(config["device"]), tokens).cpu()
        gallery = evaluator.images(retriever, pictures)
    own = [i for i, p in enumerate(pictures) if p.key == shown.key]
    best = top_k(query, gallery, min(k, len(pictures)), [own])[0].tolist()
    found = [pictures[i] for i in best if i >= 0]
    scores = [float(query[0] @ gallery[i]) for i in best if i >= 0]
    grid = draw_grid([(domain or "all domains", shown, text, [(p, None) for p in found])])
    return Found(found, scores, domain or "all domains", grid)


def _from_file(path: Path) -> Picture:
    picture = open_picture(path)
    return Picture(f"file/{path.resolve()}", lambda: picture)
