"""A client of a local server that speaks OpenAI's chat completions: one question, one or several answers."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from clplat.data.text_table import LONGEST
from clplat.errors import UserError

__all__ = ["Endpoint", "answer_of"]

#: Bytes of a response; what is longer is not read.
_MOST = 1 << 20
#: Statuses after which the same question may be answered: too many at once, and faults of the server.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _Again(Exception):
    """The question may be asked again."""


@dataclass(frozen=True)
class Endpoint:
    """Where questions are asked. What comes back is text and nothing else: it is never run, only kept.

    Args:
        url: of the server, up to ``/v1``.
        model: its name there.
        timeout: seconds without a sign of life.
        retries: of a question that was not answered, after 1, 2, 4 ... times the pause.
        pause: seconds.
        key: sent as a bearer token, and neither printed nor kept.
        elsewhere: allow another machine than this one, which pictures and texts are then sent to.

    Raises:
        UserError: no http or https address, or one of another machine without ``elsewhere``.

    Example:
        >>> Endpoint("http://10.0.0.7/v1")
        Traceback (most recent call last):
        clplat.errors.UserError: endpoint 'http://10.0.0.7/v1' is another machine; allow it with --elsewhere
    """

    url: str = "http://127.0.0.1:8000/v1"
    model: str = "default"
    timeout: float = 60.0
    retries: int = 3
    pause: float = 1.0
    key: str = ""
    elsewhere: bool = False

    def __post_init__(self) -> None:
        if not self._address.hostname or self._address.scheme not in ("http", "https"):
            raise UserError(f"endpoint '{self.url}' is no address such as {type(self).url}")
        if not (self.elsewhere or _is_here(self._address.hostname)):
            raise UserError(f"endpoint '{self.url}' is another machine; allow it with --elsewhere")

    @property
    def _address(self) -> SplitResult:
        return urlsplit(self.url)

    def ask(self, prompt: str, picture: bytes | None = None, seed: int = 0, heat: float = 0.0) -> str:
        """The answer to a question, "" where the model has none that can be used.

        Args:
            prompt: the question.
            picture: JPEG or PNG that it is about.
            seed: of the answer, where the server knows seeds.
            heat: temperature.

        Raises:
            UserError: the server refuses the question, or does not answer after all retries.
        """
        content: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
        if picture is not None:
            kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
            data = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
            content.append({"type": "image_url", "image_url": {"url": data}})
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        body |= {"temperature": heat, "seed": seed, "max_tokens": 256}
        why = ""
        for tries in range(self.retries + 1):
            if tries:
                time.sleep(self.pause * 2 ** (tries - 1))
            try:
                return answer_of(self._post(body))
            except _Again as error:
                why = str(error)
        raise UserError(f"endpoint {self.url} did not answer in {self.retries + 1} tries: {why}")

    def _post(self, body: Mapping[str, Any]) -> bytes:
        """The body of a good response; neither proxies nor redirects are followed."""
        address = self._address
        secure = address.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {self.key}"} if self.key else {}
        connection = connect(str(address.hostname), address.port, timeout=self.timeout)
        try:
            path = f"{address.path.rstrip('/')}/chat/completions"
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read(_MOST + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _Again(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        if response.status in _PASSING:
            raise _Again(f"status {response.status}")
        if response.status != 200:
            said = _plain(content[:1000].decode(errors="replace"))[:200]
            raise UserError(f"endpoint {self.url} refuses the question with status {response.status}: {said}")
        if len(content) > _MOST:
            raise _Again(f"an answer of more than {_MOST} bytes")
        return content


def answer_of(content: bytes) -> str:
    """The text of a response in one line: what stands behind "Edited Description:" where an answer has that.

    Raises:
        _Again: it is no chat completion.

    Example:
        >>> said = {"content": "Instruction: is blue\\nEdited Description: a bag: blue, small"}
        >>> answer_of(json.dumps({"choices": [{"message": said}]}).encode())
        'a bag: blue, small'
    """
    try:
        said = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _Again("an answer that is no chat completion") from None
    if not isinstance(said, str):
        raise _Again("an answer without a text")
    marked = re.search(r"edited description\**\s*:\**\s*(.*)", said, re.IGNORECASE)
    text = _plain(marked[1] if marked else said).strip("\"'` ")
    return text if len(text) <= LONGEST else ""


def _plain(text: str) -> str:
    """Printable letters, with single spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _is_here(host: str) -> bool:
    """Whether a name is that of this machine, without asking anybody."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
