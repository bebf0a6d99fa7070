"""A turn's blocks: all that a reply needs, and never more than fits."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from echo_actors.claude.blocks import Blocks
from echo_actors.claude.content import DEEPEST, block_of, size
from echo_actors.models import Block


def nested(levels: int) -> dict[str, Any]:
    """An object within an object, and so on."""
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"a": [inner]} if levels % 2 else {"a": inner}
    return inner


def test_blocks_are_kept_in_order() -> None:
    """As they came, those that another entry replaced left out."""
    blocks = Blocks()
    for uuid, text in [("u-1", "one"), ("u-2", "two"), ("u-1", "three")]:
        blocks.add(uuid, Block("text", text))
    blocks.drop("u-2")
    assert [block.text for block in blocks.all()] == ["one", "three"]


@pytest.mark.parametrize("uuids", [["same"] * 100, [f"u-{n}" for n in range(100)]])
def test_a_cli_that_never_stops_does_not_fill_the_memory(uuids: list[str]) -> None:
    """The oldest blocks go, however they are named, and whether they hold text or a tool's input."""
    blocks = Blocks(limit=10_000)
    for number, uuid in enumerate(uuids):
        held = {"data": {"a": "x" * 1000}} if number % 2 else {"text": "x" * 1000}
        blocks.add(uuid, Block(f"kind {number}", **held))
    kinds = [block.kind for block in blocks.all()]
    assert kinds == [f"kind {number}" for number in range(100 - len(kinds), 100)]
    assert 0 < len(kinds) < 10


def test_one_block_that_is_too_long_is_kept() -> None:
    """It is the answer."""
    blocks = Blocks(limit=10)
    blocks.add("u-1", Block("text", "x" * 1000))
    assert len(blocks.all()) == 1


def test_a_tool_input_that_is_nested_too_deep_says_so() -> None:
    """It could be read, and not be written again: the outcome with it could never be stored."""
    deep = block_of({"type": "tool_use", "name": "T", "input": nested(DEEPEST + 100)})
    assert deep.data == {"left_out": f"nested deeper than {DEEPEST} levels"}
    assert orjson.dumps({"reply": {"blocks": [{"data": deep.data}]}})


def test_a_tool_input_that_can_be_kept_is_kept() -> None:
    """As it came."""
    data = nested(DEEPEST)
    assert block_of({"type": "tool_use", "name": "T", "input": data}).data == data


def test_the_size_of_anything_is_found() -> None:
    """Texts and keys count by their length; no depth is too much."""
    assert size({"key": ["text", 7, None]}) >= len("keytext")
    assert size(nested(900)) >= 900
    assert size({"a": "x" * 1000}) >= 1000
