"""Content blocks: what becomes text, what becomes data, and that no type is trusted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import JSON

from echo_actors.claude.content import block_of, contents, flat_text, reply_text, table
from echo_actors.models import Block


def test_text_blocks_are_stripped_and_joined_by_a_blank_line() -> None:
    """Empty ones leave no gap; thinking and tools are no text of the answer."""
    blocks = [
        Block("text", "  one\n"),
        Block("thinking", "hm"),
        Block("text", " \n"),
        Block("tool_use", name="Bash", data={}),
        Block("text", "two"),
    ]
    assert reply_text(blocks) == "one\n\ntwo"
    assert reply_text([]) == ""


@pytest.mark.parametrize(
    ("raw", "block"),
    [
        ({"type": "text", "text": "hi"}, Block("text", "hi")),
        ({"type": "thinking", "thinking": "hm", "signature": "x"}, Block("thinking", "hm")),
        ({"type": "tool_use", "name": "Bash", "input": {"a": 1}}, Block("tool_use", name="Bash", data={"a": 1})),
        ({"type": "image", "source": 1}, Block("image", data={"type": "image", "source": 1})),
        ({"type": "text"}, Block("text", "")),
        ({"type": "tool_use", "input": 7}, Block("tool_use", name="", data={})),
    ],
)
def test_each_kind_of_block_becomes_its_value(raw: dict[str, Any], block: Block) -> None:
    """An unknown kind keeps all that it had."""
    assert block_of(raw) == block


def test_the_content_of_a_message_may_be_a_plain_string() -> None:
    """It has no blocks then, and what is no object is none."""
    assert contents({"content": "hi"}) == []
    assert contents({"content": [{"type": "text"}, "x", None]}) == [{"type": "text"}]


@pytest.mark.parametrize(
    ("content", "text"),
    [("hi", "hi"), ([{"text": "a"}, {"text": "b"}], "a\nb"), ([{"type": "image"}, 7], ""), (None, ""), (7, "")],
)
def test_a_tools_result_becomes_flat_text(content: object, text: str) -> None:
    """Whether it is a string or blocks."""
    assert flat_text(content) == text


@given(st.dictionaries(st.sampled_from(["type", "text", "content", "input"]), JSON))
def test_no_content_whatever_breaks_the_reading(raw: dict[str, Any]) -> None:
    """Any JSON object is a block, and a message, of something."""
    assert isinstance(reply_text([block_of(raw), *map(block_of, contents(raw))]), str)
    assert isinstance(flat_text(raw.get("content")), str)
    assert isinstance(table(raw, "input"), dict)
