"""Markdown in pieces: what the splitter promises, for examples and for any text."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering_texts import MARKDOWN, PLATFORMS, TEXTS, Document, documents
from wcwidth import iter_graphemes

from echo_actors.rendering import DISCORD, LEAST_LIMIT, SLACK, TELEGRAM, Platform, Unit, pieces, split

SMALL = Platform("small", 64, Unit.CODE_POINTS)


def left_open(piece: str, limit: int) -> bool:
    """Say whether a code block is open at the end of a message, read independently of the code under test."""
    opener, lead = "", ""
    for line in re.split(r"\r\n|\r|\n", piece):
        if opener:
            closer = re.fullmatch(rf"[ \t{lead}]*(`{{3,}}|~{{3,}})[ \t]*", line)
            opener = "" if closer and closer[1].startswith(opener) else opener
        else:
            found = re.match(r"([ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)?(`{3,}|~{3,}))(.*)", line, re.DOTALL)
            if found and len(found[1]) <= limit // 8 and not (found[2][0] == "`" and "`" in found[3]):
                opener, lead = found[2], ">" if ">" in found[1] else ""
    return bool(opener)


def broken(text: str, platform: Platform) -> list[int]:
    """Give the places at which a text's pieces begin and end."""
    return [place for piece in pieces(text, platform) for place in (piece.start, piece.end)]


def lines(count: int) -> str:
    """Give lines of code."""
    return "".join(f"line {number}\n" for number in range(count))


@given(TEXTS, PLATFORMS)
def test_no_piece_is_over_the_limit(text: str, platform: Platform) -> None:
    """In the platform's unit, counted here in another way."""
    for piece in split(text, platform):
        encoding, size = {Unit.UTF8: ("utf-8", 1), Unit.UTF16: ("utf-16-le", 2), Unit.CODE_POINTS: ("utf-32-le", 4)}[
            platform.unit
        ]
        assert 0 < len(piece.encode(encoding, "surrogatepass")) // size <= platform.limit


@given(TEXTS, PLATFORMS)
def test_the_content_is_whole(text: str, platform: Platform) -> None:
    """The pieces' parts follow each other in the text, and only white space is between them."""
    place = 0
    for piece in pieces(text, platform):
        assert text[place : piece.start].strip() == ""
        assert piece.text == piece.opening + text[piece.start : piece.end] + piece.closing
        assert piece.start < piece.end
        place = piece.end
    assert text[place:].strip() == ""


@given(MARKDOWN, PLATFORMS)
def test_what_is_added_are_lines_of_fences_heads_of_tables_and_guards(text: str, platform: Platform) -> None:
    """And nothing else."""
    for piece in pieces(text, platform):
        assert re.fullmatch(
            r"(?:[ \t>]*(?:```+|~~~+).*\n[ \t>]*)?\u200b?|(?:[^\n]*\|[^\n]*\n)(?:[-:| \t]+\n)", piece.opening
        )
        assert re.fullmatch(r"(?:\n[ \t>]*(?:```+|~~~+))?", piece.closing)


@given(MARKDOWN, PLATFORMS)
def test_no_code_block_is_left_open(text: str, platform: Platform) -> None:
    """Not even one that the text leaves open."""
    for piece in split(text, platform):
        assert not left_open(piece, platform.limit), piece


@given(TEXTS, PLATFORMS)
def test_no_grapheme_that_fits_is_broken(text: str, platform: Platform) -> None:
    """A fence and a table's head beside it take less than half of a piece."""
    place, places = 0, set(broken(text, platform))
    for cluster in iter_graphemes(text):
        if platform.count(cluster) <= platform.limit // 2:
            assert places.isdisjoint(range(place + 1, place + len(cluster)))
        place += len(cluster)


@given(documents(), PLATFORMS)
def test_links_rows_code_and_emphasis_that_fit_are_whole(document: Document, platform: Platform) -> None:
    """Wherever they stand."""
    places = set(broken(document.text, platform))
    for start, end, beside in document.whole:
        if platform.takes(document.text[start:end], beside=beside):
            assert places.isdisjoint(range(start + 1, end)), document.text[start:end]


@pytest.mark.parametrize("length", range(40, 90))
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_code_block_of_any_length_keeps_the_promises(length: int, line_end: str) -> None:
    """What closes it needs room too, and only the line end at a break is left out."""
    for text in (f"```{line_end}{'x' * length}", f"```{line_end}" + f"x{line_end}" * length):
        found = list(pieces(text, SMALL))
        assert all(len(piece.text) <= SMALL.limit for piece in found)
        assert all(text[before.end : after.start] in {"", line_end} for before, after in pairwise(found))


def test_a_line_with_code_between_long_runs_of_ticks_is_no_fence() -> None:
    """However long the code is."""
    text = f"```{'x' * 50}``` y"
    assert split(text, SMALL) == [text]


def test_the_platforms_count_in_their_own_unit() -> None:
    """An emoji is one character for Discord and two for the others."""
    assert [len(split("😀" * 2000, platform)) for platform in (DISCORD, TELEGRAM, SLACK)] == [1, 1, 2]
    assert [len(split("😀" * 2049, platform)) for platform in (DISCORD, TELEGRAM, SLACK)] == [2, 2, 2]
    assert [platform.limit for platform in (DISCORD, TELEGRAM, SLACK)] == [2000, 4096, 3000]


def test_a_limit_that_leaves_no_room_is_refused() -> None:
    """A fence needs its lines, and something between them."""
    with pytest.raises(ValueError, match="at least 64"):
        Platform("tiny", LEAST_LIMIT - 1)


@pytest.mark.parametrize("text", ["", " \n\t\u2003\r\n"])
def test_nothing_visible_is_no_message(text: str) -> None:
    """Platforms refuse an empty one."""
    assert split(text, DISCORD) == []


def test_what_fits_is_one_message_without_the_white_space_around_it() -> None:
    """The indentation of its first line is kept."""
    assert split("\n\n  Hello, **you**.\n\nBye. \n", DISCORD) == ["  Hello, **you**.\n\nBye."]


def test_a_code_block_is_closed_and_opened_again_with_its_language() -> None:
    """Between lines."""
    found = split(f"```py\n{lines(12)}```\nDone.", SMALL)
    assert found[0].startswith("```py\nline 0\n")
    assert all(piece.startswith("```py\nline ") for piece in found)
    assert all(re.search(r"line \d+\n```(\nDone\.)?$", piece) for piece in found)


def test_a_fence_of_another_length_or_kind_inside_a_code_block_is_code() -> None:
    """The block ends with a fence that is as long, of the same kind, and has nothing behind it."""
    inner = "```\nx\n```\n~~~~~\n````` y\n" * 4
    found = split(f"`````md\n{inner}``````\n", SMALL)
    assert all(piece.startswith("`````md\n") for piece in found)
    assert "".join(piece.removeprefix("`````md\n").rpartition("\n")[0] + "\n" for piece in found) == inner


def test_an_indented_code_block_is_opened_with_its_indentation() -> None:
    """As in a list."""
    found = split("1. Do:\n   ~~~sh\n" + "   echo hello\n" * 8 + "   ~~~\n2. Rest.", SMALL)
    assert all(piece.startswith("   ~~~sh\n   echo") for piece in found[1:])
    assert all("\n   ~~~" in piece for piece in found)


def test_a_code_block_in_a_quotation_stays_in_it() -> None:
    """Also where one of its lines is broken."""
    found = split("> ```\n> " + "x" * 150 + "\n> ```", SMALL)
    assert all(re.fullmatch(r"> ```\n> x+\n> ```", piece) for piece in found)


def test_a_code_block_that_fits_is_not_broken() -> None:
    """The piece before it ends early instead."""
    code = f"```py\n{lines(6)}```"
    assert split(f"Look at this code:\n\n{code}", SMALL) == ["Look at this code:", code]


def test_a_code_block_without_an_end_is_closed() -> None:
    """Also the whole text in one piece, as while an answer is written."""
    assert split("Look:\n```py\nx = 1", DISCORD) == ["Look:\n```py\nx = 1\n```"]


def test_no_piece_ends_with_an_opened_fence_or_begins_with_a_closed_one() -> None:
    """A code block without code would be shown."""
    for filler in range(120):
        for piece in split("x " * filler + "\n```\n" + "y" * 40 + "\n" + "z" * 40 + "\n```", SMALL):
            assert "```\n```" not in piece
            assert "```\n\n```" not in piece


def test_a_long_language_is_left_out_where_the_block_goes_on() -> None:
    """It could take the room of the code, again and again."""
    found = split(f"```{'i' * 40}\n{lines(20)}```", SMALL)
    assert all(piece.startswith("```\nline") for piece in found[1:])


def test_a_table_is_broken_between_rows_and_its_head_is_repeated() -> None:
    """Where the head is short enough."""
    head = "|a|b|\n|-|-|\n"
    rows = [f"| {number} | x |" for number in range(20)]
    found = split(head + "\n".join(rows), SMALL)
    assert all(piece.startswith(head) for piece in found)
    assert [row for piece in found for row in piece.removeprefix(head).split("\n")] == rows


def test_a_long_head_is_not_repeated() -> None:
    """The rows are whole all the same."""
    rows = [f"| row {number} |" for number in range(9)]
    found = split("| a rather long head |\n|---|\n" + "\n".join(rows), SMALL)
    assert "\n".join(found[1:]).split("\n") == rows[rows.index(found[1].split("\n")[0]) :]


def test_better_places_for_a_break_come_first() -> None:
    """A blank line, a line's end, a sentence's end, a space, a character."""
    word, rest = "x" * 9, "y" * 60
    assert split(f"{word * 4}\n\nA. b\nc {rest}", SMALL)[0] == word * 4
    assert split(f"{word * 4}\nA. b {rest}", SMALL)[0] == word * 4
    assert split(f"{word * 4} A. b {rest}", SMALL)[0] == f"{word * 4} A."
    assert split(f"{word * 4} b {rest}", SMALL)[0] == f"{word * 4} b"
    assert split("x" * 65, SMALL) == ["x" * 64, "x"]


@pytest.mark.parametrize(
    "link",
    [
        "[a link](https://example.com/a_(b)?c=d)",
        '![an image](<a b.png> "title")',
        "[![b](c d](e)](https://example.com/)",
        "<https://example.com/?q=a+b>",
        "<https://example.com|words of Slack>",
        "https://example.com/a-b-c-d-e",
        "`code with spaces`",
        "``code with ` a tick``",
        "**bold words here**",
        "_words in italics_",
        "||a spoiler||",
        "<@123456789>",
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "1️⃣",
        "e\u0301\u0323",
        "각",
        "\\*",
    ],
)
def test_what_belongs_together_stays_together(link: str) -> None:
    """Wherever the limit falls."""
    for filler in range(64):
        text = "a" * filler + " " + link + " words behind it " * 3
        assert any(link in piece for piece in split(text, SMALL)), filler


def test_a_link_that_is_too_long_is_broken() -> None:
    """There is no other way, and nothing is lost."""
    link = f"[a link](https://example.com/{'x' * 100})"
    assert "".join(split(link, SMALL)).replace(" ", "") == link.replace(" ", "")


def test_a_break_does_not_make_a_fence() -> None:
    """A line that begins with ticks, because what stood before them is in the piece before, is no fence."""
    found = split("word " * 12 + "w ```` " + "word " * 12, SMALL)
    assert found[1].startswith("\u200b````")
    assert not any(left_open(piece, SMALL.limit) for piece in found)


def test_a_lone_surrogate_is_a_character_like_others() -> None:
    """No platform takes it, but it breaks nothing here."""
    assert "".join(split("\ud83d" * 100, TELEGRAM)) == "\ud83d" * 100
    assert split("\ud83d" * 65, Platform("p", 64))[1] == "\ud83d"


@pytest.mark.parametrize(
    "part", ["[", "](", "`", "` ``", "*a _b ", "<a", "```\n", "|a|\n|-|\n", "a\u0301", "🇩", "[a](<", "\\", "> ", "(\n"]
)
def test_the_work_grows_with_the_text_and_not_faster(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in characters that are measured: ten times the text must not be much more than ten times the work."""
    measured = 0
    count = Platform.count

    def counting(platform: Platform, text: str) -> int:
        nonlocal measured
        measured += len(text) + 1
        return count(platform, text)

    monkeypatch.setattr(Platform, "count", counting)
    costs = []
    for size in (20_000, 200_000):
        measured = 0
        split(part * (size // len(part)), TELEGRAM)
        costs.append(measured)
    assert costs[1] <= 15 * costs[0]


@given(st.text("`~\n x", max_size=150), PLATFORMS)
def test_no_mixture_of_fence_characters_leaves_a_block_open(text: str, platform: Platform) -> None:
    """Runs of any length, anywhere."""
    if max(map(len, re.findall(r"[ \t]*(?:`+|~+)", text)), default=0) <= platform.limit // 8:
        for piece in split(text, platform):
            assert not left_open(piece, platform.limit), piece


def test_an_indentation_that_would_fill_the_message_is_left_out() -> None:
    """A message of nothing but white space would be refused."""
    assert split(" " * 100 + "word", SMALL) == ["word"]
