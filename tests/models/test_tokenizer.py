"""Tokens of texts, found word by word, against the tokenizer that reads them whole."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.models.tokenizer import Tokenizer

TRAPS = [
    "",
    " a  red\tshoe\nit's",
    "don't DON'T '' 's it's 12'5 can''t we'll",
    "fish &amp; chips &lt;b&gt; &am p;",
    "caf\u00e9 cafe\u0301 \ufb01ne \u201cquoted\u201d na\u00efve",
    "a\x0bb c\x00d \x1b[31mred",
    "<start_of_text> in <END_OF_TEXT>x a<start_of_text>b",
    "50% off!!! (new) #1 -- x_y",
    "\u9ed2\u3044\u9774 \U0001f45f\U0001f45f",
    "long " * 40,
]


@lru_cache
def _whole() -> Any:
    import open_clip

    return open_clip.SimpleTokenizer(context_length=16)


def _same(text: str) -> None:
    whole = _whole()
    for ours in (Tokenizer("", 16), Tokenizer("ViT-B-32", 16)):
        assert ours.lengths([text]) == [len(whole.encode(text)) + 2]
        assert ours.ids([text]).tolist() == whole([text]).tolist()


@pytest.mark.parametrize("text", TRAPS)
def test_words_have_the_tokens_of_their_text(text: str) -> None:
    _same(text)


@settings(max_examples=15, deadline=None)
@given(text=st.text(st.characters(max_codepoint=0x17F), max_size=30))
def test_any_text_has_the_same_tokens(text: str) -> None:
    _same(text)
