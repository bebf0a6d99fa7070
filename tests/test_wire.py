"""The wire: bytes to frames and back, whatever the CLI writes."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from echo_actors.claude.wire import BadLine, Frame, FrameDecoder, encode

KIB = 1024
RATE_LIMIT: Frame = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}, "session_id": "s"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
frames = st.dictionaries(st.text(), json_values, max_size=5)
garbage = st.binary(max_size=60).filter(lambda line: b"\n" not in line and not line.startswith(b"{"))


def decode(data: bytes, *, max_line_bytes: int = 32 * KIB * KIB) -> list[Frame | BadLine]:
    """Decode bytes that arrive at once."""
    decoder = FrameDecoder(max_line_bytes)
    return decoder.feed(data) + decoder.finish()


def in_chunks(data: bytes, sizes: list[int], *, max_line_bytes: int) -> list[Frame | BadLine]:
    """Decode bytes that arrive in chunks of these sizes, the rest at once."""
    decoder = FrameDecoder(max_line_bytes)
    items: list[Frame | BadLine] = []
    for size in sizes:
        items += decoder.feed(data[:size])
        data = data[size:]
    return items + decoder.feed(data) + decoder.finish()


def is_json(text: str) -> bool:
    """Tell whether the text is one JSON value."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


@given(st.lists(frames))
def test_what_is_encoded_comes_back(sent: list[Frame]) -> None:
    """Frames survive the way over the wire, in order."""
    assert decode(b"".join(encode(frame) for frame in sent)) == sent


@given(
    st.lists(frames.map(encode) | garbage.map(lambda line: line + b"\n") | st.just(b'{"torn": [1,\n')),
    st.lists(st.integers(0, 40)),
    st.integers(1, 60),
)
def test_chunks_do_not_matter(lines: list[bytes], sizes: list[int], max_line_bytes: int) -> None:
    """The same items come out however the bytes are cut, over-long and torn lines included."""
    data = b"".join(lines).removesuffix(b"\n")
    assert in_chunks(data, sizes, max_line_bytes=max_line_bytes) == decode(data, max_line_bytes=max_line_bytes)


@given(st.lists(st.tuples(garbage, frames)))
def test_garbage_between_frames_is_reported_and_skipped(pairs: list[tuple[bytes, Frame]]) -> None:
    """Each line of garbage costs one bad line and no frame."""
    items = decode(b"".join(line + b"\n" + encode(frame) for line, frame in pairs))
    assert items[1::2] == [frame for _, frame in pairs]
    assert [(bad.reason, bad.size) for bad in items[::2] if isinstance(bad, BadLine)] == [
        ("not JSON", len(line)) for line, _ in pairs
    ]


@given(st.binary())
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    """Whatever precedes it, a frame on a line of its own after a bad line arrives."""
    assert decode(data + b"\n!\n" + encode(RATE_LIMIT))[-1] == RATE_LIMIT


@given(frames, st.data())
def test_a_frame_inside_another_line_yields_both(outer: Frame, data: st.DataObject) -> None:
    """Wherever the inner frame was written, it comes first and the outer one after it."""
    text = orjson.dumps(outer).decode()
    place = data.draw(st.integers(1, len(text) - 1))
    line = text[:place] + orjson.dumps(RATE_LIMIT).decode() + text[place:]
    assume(not is_json(line))  # inside an empty array it is an element like any other
    assert decode(line.encode() + b"\n") == [RATE_LIMIT, outer]


def test_the_inner_frame_is_the_one_with_a_session() -> None:
    """Between two content blocks, the event is cut out and not the block."""
    outer = {"type": "assistant", "content": [{"type": "text"}, {"type": "text", "text": "x"}]}
    text = orjson.dumps(outer)
    place = text.rindex(b'{"type"')
    assert decode(text[:place] + orjson.dumps(RATE_LIMIT) + text[place:] + b"\n") == [RATE_LIMIT, outer]


def test_an_inner_frame_may_bring_its_own_line_end() -> None:
    """The outer frame then goes on in the next line and is put together again."""
    data = b'{"type":"user","text":"he' + encode(RATE_LIMIT) + b'llo"}\n{"n":1}\n'
    assert decode(data) == [RATE_LIMIT, {"type": "user", "text": "hello"}, {"n": 1}]


def test_a_head_that_does_not_go_on_is_reported() -> None:
    """An inner frame after a torn outer one costs only the outer one."""
    assert decode(b'{"text":"he' + encode(RATE_LIMIT) + b'{"n":1}\n') == [
        RATE_LIMIT,
        BadLine("broken JSON", 11, '{"text":"he'),
        {"n": 1},
    ]


def test_a_head_at_the_end_is_reported() -> None:
    """Nothing that arrived goes unmentioned when the stream ends."""
    assert decode(b'{"text":"he' + encode(RATE_LIMIT)) == [RATE_LIMIT, BadLine("broken JSON", 11, '{"text":"he')]


def test_two_frames_on_one_line_keep_their_order() -> None:
    """A lost line end loses nothing."""
    assert decode(b'{"n":1}{"n":2}\n') == [{"n": 1}, {"n": 2}]


def test_a_nested_object_of_a_torn_line_is_no_frame() -> None:
    """A tool's input, which a model writes, cannot become a frame of the CLI."""
    line = b'{"type":"assistant","input":{"type":"result","session_id":"s"}'
    assert decode(line + b"\n") == [BadLine("broken JSON", len(line), line.decode())]


@pytest.mark.parametrize("line", [b"", b"warning: deprecated", b"[1,2]", b'"text"', b"null", b' {"a":1}'])
def test_a_line_that_begins_no_object_is_reported(line: bytes) -> None:
    """Blank lines, plain text and JSON of other kinds are bad lines."""
    assert decode(line + b'\n{"n":1}\n') == [BadLine("not JSON", len(line), line.decode()), {"n": 1}]


def test_invalid_utf8_is_replaced() -> None:
    """A bad byte in a tool's output costs that character alone."""
    assert decode(b'{"text":"a\xffb"}\n') == [{"text": "a\ufffdb"}]


def test_escaped_half_surrogates_are_replaced() -> None:
    """JavaScript escapes half an emoji; the rest of the frame is kept."""
    assert decode(b'{"text":"a\\ud83d b \\ud83d\\ude00"}\n') == [{"text": "a\ufffd b \U0001f600"}]


def test_an_overlong_line_is_one_bad_line() -> None:
    """It is counted whole, kept as its beginning, and the next frame arrives."""
    line = b'{"text":"' + b"x" * 1000 + b'"}'
    assert decode(line + b'\n{"n":1}\n', max_line_bytes=500) == [
        BadLine("too long", len(line), line[:200].decode()),
        {"n": 1},
    ]


def test_an_overlong_line_is_not_kept() -> None:
    """Memory stays bounded while a line without an end goes on."""
    decoder = FrameDecoder(max_line_bytes=10 * KIB)
    for _ in range(100):
        assert decoder.feed(b"{" * KIB) == []
    assert len(decoder._line) <= 10 * KIB


def test_a_torn_last_line_is_reported() -> None:
    """What was written when the CLI died shows up as torn."""
    assert decode(b'{"n":1}\n{"n":') == [{"n": 1}, BadLine("torn", 5, '{"n":')]


def test_a_last_line_without_its_end_counts_if_whole() -> None:
    """A result is not lost for want of a line end."""
    assert decode(b'{"n":1}') == [{"n": 1}]


def test_a_line_of_20_mb_arrives_in_chunks() -> None:
    """Long lines are looked at once per chunk, not once per chunk and byte before it."""
    frame = {"type": "user", "text": "x" * (20 * KIB * KIB)}
    data = encode(frame)
    decoder = FrameDecoder(32 * KIB * KIB)
    items: list[Any] = []
    for start in range(0, len(data), 64 * KIB):
        items += decoder.feed(data[start : start + 64 * KIB])
    assert items == [frame]


def test_encode_replaces_half_surrogates() -> None:
    """A text that UTF-8 cannot carry is sent with the bad halves replaced."""
    assert json.loads(encode({"text": "a\ud83db\U0001f600"})) == {"text": "a\ufffdb\U0001f600"}


def test_encode_writes_one_line() -> None:
    """A line end inside a text is escaped."""
    assert encode({"text": "a\nb"}) == b'{"text":"a\\nb"}\n'


def test_encode_refuses_what_json_cannot_carry() -> None:
    """A foreign object is the caller's mistake and says so."""
    with pytest.raises(TypeError):
        encode({"path": object()})
