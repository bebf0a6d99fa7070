"""Texts for the tests of the rendering: any Unicode, and Markdown whose parts are known."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from echo_actors.rendering import Platform, Unit

PLATFORMS = st.builds(Platform, st.just("any"), st.integers(64, 140), st.sampled_from(Unit))

CHARACTERS = st.characters(codec=None, exclude_categories=())
CLUSTERS = st.sampled_from(
    [
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "🇩",
        "1️⃣",
        "e\u0301\u0323",
        "\u1112\u1161\u11ab",
        "क्षि",
        "👍🏽",
        "\r\n",
        "\u0600 x",
        " \u0301",
        "\u200d",
        "\ud83d",
    ]
)
WORDS = st.sampled_from(["word", "a", "Word.", "longer-word", "snake_case", "x" * 30, "漢字。", "2 * 3", "#"])
LINKS = st.sampled_from(
    [
        "[a link](https://example.com/a?b=c)",
        "![an image](a.png)",
        '[x](<a b> "a title")',
        "[![b](c)](d)",
        "[words in a link](u)",
        "<https://example.com/x>",
        "<https://example.com|a name>",
        "https://example.com/some/where",
        "`inline code`",
        "``a ` b``",
        "**bold words**",
        "~~struck out~~",
        "[long](https://example.com/" + "y" * 60 + ")",
    ]
)
MARKS = st.sampled_from(
    [
        "```",
        "```py",
        "~~~",
        "````",
        "`",
        "``",
        "~~~~~",
        "[",
        "](",
        ")",
        "<",
        "*",
        "**",
        "_",
        "|",
        "|-|",
        "- ",
        "> ",
        "\\",
    ]
)
SPACES = st.sampled_from([" ", "\n", "\n\n", "\r\n", "\r", "\t", "  ", "\n    "])
MARKDOWN = st.lists(st.one_of(MARKS, MARKS, SPACES, SPACES, WORDS, LINKS, CLUSTERS), max_size=40).map("".join)
TEXTS = st.one_of(st.text(CHARACTERS, max_size=250), MARKDOWN, st.lists(CLUSTERS, max_size=80).map("".join))


@attrs.frozen
class Document:
    """A text, and what should stay whole: starts, ends, and what a piece needs beside each."""

    text: str
    whole: tuple[tuple[int, int, int], ...]


def documents() -> st.SearchStrategy[Document]:
    """Markdown of paragraphs, tables and code blocks, in any order."""
    return st.lists(st.one_of(_paragraph(), _table(), _code()), max_size=8).map(_joined)


def _paragraph() -> st.SearchStrategy[Document]:
    words = st.lists(st.one_of(WORDS.filter(lambda word: "*" not in word), LINKS), min_size=1, max_size=20)
    spaces = st.lists(st.sampled_from([" ", " ", "\n", "  "]), min_size=20, max_size=20)
    return st.tuples(words, spaces).map(lambda drawn: _placed(list(zip(*drawn, strict=False))))


def _placed(parts: list[tuple[str, str]]) -> Document:
    text, whole = "", []
    for part, space in parts:
        if part[0] in "[!<`*~" or part.startswith("https"):
            whole.append((len(text), len(text) + len(part), 0))
        text += part + space
    return Document(text, tuple(whole))


def _table() -> st.SearchStrategy[Document]:
    cells = st.lists(st.one_of(WORDS, LINKS.filter(lambda link: "`" not in link)), min_size=1, max_size=3)
    rows = st.lists(cells.map(lambda row: f"| {' | '.join(row)} |"), min_size=1, max_size=8)
    return rows.map(lambda drawn: _lines(["| a | b |", "|---|:-:|", *drawn], beside=0))


def _code() -> st.SearchStrategy[Document]:
    line = st.lists(st.one_of(WORDS, MARKS.filter(lambda mark: "```" not in mark)), max_size=8).map(" ".join)
    return st.lists(line, max_size=10).map(lambda drawn: _lines(["```py", *drawn, "```"], beside=10))


def _lines(lines: list[str], *, beside: int) -> Document:
    text, whole = "", []
    for line in lines:
        whole.append((len(text), len(text) + len(line), beside))
        text += line + "\n"
    return Document(text, tuple(whole))


def _joined(parts: list[Document]) -> Document:
    text = ""
    whole: list[tuple[int, int, int]] = []
    for part in parts:
        whole.extend((start + len(text), end + len(text), beside) for start, end, beside in part.whole)
        text += part.text + "\n\n"
    return Document(text, tuple(whole))
