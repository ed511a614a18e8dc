"""What `clplat ui` puts before MLflow's page: it opens on training, without panels, in our colours and words.

MLflow 3.17 has no settings for these: it keeps them in the browser. They are set there (``page.js``) where
the user has chosen nothing. As with saved views, no documented interface is used: it stands here and nowhere
else, and where it does not fit another MLflow, its page is as it comes. A server that others run is as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from clplat.tracking.metrics import WORDS
from clplat.tracking.store import open_client
from clplat.tracking.views import COLOUR

__all__ = ["served"]

_STORE = "MLFLOW_BACKEND_STORE_URI"  # the environment variable that names the store to `mlflow server`
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Send], Awaitable[None]]
# A page that the browser has kept is one without the script.
_OF_CACHES = (b"if-none-match", b"if-modified-since", b"etag", b"last-modified", b"content-length")


def served() -> App:
    """The application of ``mlflow server --app-name clplat``: MLflow's, with a script in its page."""
    from mlflow.server.fastapi_app import app as mlflow_app

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("GET", "/"):
            await mlflow_app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                script = await asyncio.to_thread(_script, os.environ.get(_STORE, ""))
                page = bytes(body).replace(b"<head>", b"<head>" + script, 1)
                length = (b"content-length", str(len(page)).encode())
                await send({**start, "headers": [*_kept(start["headers"]), length]})
                await send({"type": "http.response.body", "body": page})

        await mlflow_app({**scope, "headers": _kept(scope["headers"])}, receive, collect)

    return app


def _kept(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _OF_CACHES]


def _script(uri: str) -> bytes:
    """The element with ``page.js`` and what it needs to know."""
    known = json.dumps({"colours": _colours(uri), "words": WORDS}).replace("<", "\\u003c")
    text = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    return f"<script>\nconst clplat = {known};\n{text}</script>".encode()


def _colours(uri: str) -> Mapping[str, str]:
    """MLflow's name of a group of runs -> its colour."""
    if not uri:
        return {}
    tags = [item.tags for item in open_client(uri).search_experiments(max_results=1000)]
    named = [v.partition(" ") for held in tags for key, v in held.items() if key.startswith(COLOUR)]
    return {f"tag.clplat.label.{label}": colour for colour, _, label in named}
