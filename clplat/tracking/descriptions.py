"""Markdown for MLflow's pages: what an experiment shows, what a run, a trial or a sweep came to."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from clplat.measures import MEASURES
from clplat.naming import label, part
from clplat.tables.text import mlflow_markdown
from clplat.tracking.metrics import closing_metrics, mean_key, primary, row_metrics, rows_done

__all__ = ["HOW_TO_READ", "note"]

_M = MEASURES
# MLflow shows the first line and folds the rest.
HOW_TO_READ = f"""\
Which strategy keeps up with the stream? Open **Views > Leaderboard** (top right). One run = one strategy, \
one seed; **step = number of domains trained**, 0 = the untrained model.

| name | meaning | better |
|---|---|---|
| `{mean_key("R@5")}` | mean Recall@5 over all domains of the stream, in percent | higher |
| `R5/<domain>` | Recall@5 on one domain | higher |
| `{_M["forgetting"].mlflow}` | {_M["forgetting"].meaning} | lower |
| `{_M["bwt"].mlflow}`, `{_M["fwt"].mlflow}` | backward and forward transfer, in points | higher |
| `{_M["plasticity"].mlflow}` | {_M["plasticity"].meaning} | higher |
| `{_M["zero_shot"].mlflow}` | {_M["zero_shot"].meaning} | higher |
| `compat/...` | new queries against the gallery that an older version indexed | higher |
| `base/...` | training-free references: only the image, only the text | |
| `{_M["trainable_parameters"].mlflow}`, `{_M["seconds"].mlflow}` | trainable parameters in millions, \
seconds | lower |

`cumulative` trains on all domains so far and is the upper bound; `frozen` never trains.
"""


def note(result: Mapping[str, Any]) -> str:
    """The run's page in MLflow: one line, four numbers, the command that reproduces it (markdown)."""
    config, last = result["config"], rows_done(result) - 1
    numbers = (row_metrics(result, last) if last >= 0 else {}) | closing_metrics(result)
    main = primary(result)
    state = {"complete": "", "running": " (running)"}.get(str(result.get("status")), " (**failed**)")
    trained = f"{last} of {len(result['domains'])} domains" if last >= 0 else "nothing yet"
    where = f"`{part(config, 'scenario')}`, seed {config.get('seed', 0)}"
    head = f"**{label(config)}** on {where}: {trained}{state}."
    shown = [MEASURES[name] for name in ("forgetting", "zero_shot")]
    trainable = MEASURES["trainable_parameters"].mlflow
    cells = [
        (main, numbers.get(mean_key(main)), " %"),
        *((m.title, numbers.get(m.mlflow), " %" if m.unit == "percent" else f" {m.unit}") for m in shown),
        ("trainable", numbers.get(trainable), " M parameters"),
    ]
    texts = ["–" if value is None else f"{value:.2f}{unit}" for _, value, unit in cells]
    table = mlflow_markdown([name for name, _, _ in cells], [texts])
    failure = result.get("failure")
    why = f"\n\nFailed: `{failure.get('error')}`" if isinstance(failure, Mapping) else ""
    command = f"\n\n```sh\n{_folded(str(result['command']))}\n```" if result.get("command") else ""
    return f"{head}\n\n{table}{why}{command}\n"


def _folded(command: str, width: int = 64) -> str:
    """A long command over several lines, as a shell takes it: a long line pushes the page's rest aside."""
    whole = re.sub(r" (?!--)", "\0", command)  # an option stays beside its value
    lines = textwrap.wrap(
        whole, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return " \\\n".join(lines).replace("\0", " ")
