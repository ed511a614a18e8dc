"""Markdown for MLflow's pages: what an experiment shows, what a run, a trial or a sweep came to."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from clplat.measures import MEASURES
from clplat.naming import label, part
from clplat.tables.text import mlflow_markdown
from clplat.tracking.metrics import closing_metrics, mean_key, primary, row_metrics, rows_done

__all__ = ["EXAMPLE", "HOW_TO_READ", "model_note", "note", "version_note"]

EXAMPLE = "in red"  # the words of an input, where a run tells none

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
    split = (result.get("protocol") or {}).get("split", "test")
    where = f"`{part(config, 'scenario')}`, seed {config.get('seed', 0)}"
    where += f", split `{split}`" if split != "test" else ""
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


def model_note(name: str, scenario: str, alias: str) -> str:
    """The page of a registered model: what it is for and how it is used (markdown)."""
    return f"""\
Composed retrieval on the stream `{scenario}`: a reference picture and a change in words in, the nearest \
pictures of the gallery out. `@{alias}` is what the last sweep put first; its version says how good it is.

```sh
clplat search --model models:/{name}@{alias} --reference PICTURE --text "{EXAMPLE}"
```

```python
model = mlflow.pyfunc.load_model("models:/{name}@{alias}")
model.predict(pandas.DataFrame({{"reference": ["bag.jpg"], "text": ["{EXAMPLE}"]}}), params={{"k": 5}})
```
"""


def version_note(result: Mapping[str, Any], text: str) -> str:
    """The page of a registered version: scores, stream, requirements and an input (markdown).

    Args:
        text: the words of the example.
    """
    config, protocol = result["config"], result.get("protocol") or {}
    versions = ", ".join(
        f"{name} {number}" for name, number in sorted((result.get("versions") or {}).items())
    )
    return f"""\
{note(result)}
- **Stream**: {" > ".join(result["domains"])}; measured on the split `{protocol.get("split", "test")}`.
- **Needs** the data of `{part(config, "scenario")}` (its gallery) and the backbone \
`{part(config, "backbone")}`. Trained with {versions} (`requirements.txt`).
- **Input**: columns `reference` (the key of a gallery picture, a path, or the base64 of a picture; empty \
for words alone) and `text`, such as `{{"reference": "", "text": {json.dumps(text)}}}` (`input_example.json`).
- **Output**: `keys` of the nearest pictures, best first, and their `cosines`.
"""


def _folded(command: str, width: int = 64) -> str:
    """A long command over several lines, as a shell takes it: a long line pushes the page's rest aside."""
    whole = re.sub(r" (?!--)", "\0", command)  # an option stays beside its value
    lines = textwrap.wrap(
        whole, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return " \\\n".join(lines).replace("\0", " ")
