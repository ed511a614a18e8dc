"""``clplat pretrain``: train a small CLIP."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from clplat.commands.options import at_least

__all__ = ["add_pretrain", "pretrain"]


def add_pretrain(parser: ArgumentParser) -> None:
    """The options of ``clplat pretrain``."""
    parser.add_argument("--out", type=Path, required=True, help="folder, in open_clip's layout")
    text = "catalogue, a picture folder, or a .jsonl/.csv/.tsv file (default: %(default)s)"
    parser.add_argument("--source", default="catalogue", help=text)
    text = "an open_clip model configuration (default: the tiny one)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)
    for option, default in (("pairs", 20000), ("epochs", 16), ("batch-size", 128)):
        text = "(default: %(default)s)"
        parser.add_argument(f"--{option}", type=at_least(1), default=default, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate (default: %(default)s)")


def pretrain(options: Namespace, rest: list[str]) -> int:
    """Train a small CLIP."""
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
