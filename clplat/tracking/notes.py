"""Markdown for MLflow's pages: what an experiment shows, what a run, a trial or a sweep came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.tracking.naming import label, part
from clplat.tracking.rows import closing_metrics, primary, row_metrics, rows_done, short

__all__ = ["HOW_TO_READ", "markdown_table", "note"]

# MLflow shows the first line and folds the rest.
HOW_TO_READ = """\
Which strategy keeps up with the stream? Open **Views > Leaderboard** (top right). One run = one strategy, \
one seed; **step = number of domains trained**, 0 = the untrained model.

| name | meaning | better |
|---|---|---|
| `cl/R5` | mean Recall@5 over all domains of the stream, in percent | higher |
| `R5/<domain>` | Recall@5 on one domain | higher |
| `cl/forget` | a domain's best value since its training minus its value now, mean over domains | lower |
| `cl/bwt`, `cl/fwt` | backward and forward transfer, in points | higher |
| `cl/plast` | score on each domain right after training on it | higher |
| `cl/zs` | what is left of the untrained model's score on data outside the stream, in percent | higher |
| `compat/...` | new queries against the gallery that an older version indexed | higher |
| `base/...` | training-free references: only the image, only the text | |
| `cost/train_M`, `cost/sec` | trainable parameters in millions, seconds | lower |

`cumulative` trains on all domains so far and is the upper bound; `frozen` never trains.
"""


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table that MLflow's pages can show: they set columns without any space, so each cell brings its own.

    Example:
        >>> print(markdown_table(["R@5"], [["61.2"]]))
        |R@5&emsp;|
        |---|
        |61.2&emsp;|
    """
    lines = ["|" + "".join(f"{cell}&emsp;|" for cell in line) for line in [head, *body]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def note(result: Mapping[str, Any]) -> str:
    """The run's page in MLflow: one line, four numbers, the command that reproduces it (markdown)."""
    config, last = result["config"], rows_done(result) - 1
    numbers = (row_metrics(result, last) if last >= 0 else {}) | closing_metrics(result)
    main = primary(result)
    state = {"complete": "", "running": " (running)"}.get(str(result.get("status")), " (**failed**)")
    trained = f"{last} of {len(result['domains'])} domains" if last >= 0 else "nothing yet"
    where = f"`{part(config, 'scenario')}`, seed {config.get('seed', 0)}"
    head = f"**{label(config)}** on {where}: {trained}{state}."
    cells = [
        (main, numbers.get(f"cl/{short(main)}"), " %"),
        ("forgetting", numbers.get("cl/forget"), " points"),
        ("zero-shot kept", numbers.get("cl/zs"), " %"),
        ("trainable", numbers.get("cost/train_M"), " M parameters"),
    ]
    texts = ["–" if value is None else f"{value:.2f}{unit}" for _, value, unit in cells]
    table = markdown_table([name for name, _, _ in cells], [texts])
    failure = result.get("failure")
    why = f"\n\nFailed: `{failure.get('error')}`" if isinstance(failure, Mapping) else ""
    command = f"\n\n```sh\n{_folded(str(result['command']))}\n```" if result.get("command") else ""
    return f"{head}\n\n{table}{why}{command}\n"


def _folded(command: str, width: int = 64) -> str:
    """A long command over several lines, as a shell takes it: a long line pushes the page's rest aside."""
    first, *options = command.split(" --")
    lines = [first]
    for option in options:
        if len(lines[-1]) + len(option) + 3 > width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" --{option}"
    return "\n".join(lines)
