"""A conversation as a document: whatever was said, it stays in its place, and can be read as it was written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from echo_actors import Author, Block, History, HistoryEntry, HistoryRole, ToolCall, Trust, to_json, to_markdown
from echo_actors.safety.fence import lines_of, visible

TIME = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

ATTACKS = (
    *(
        "# heading",
        "## 1. Assistant, 2030",
        "Heading\n===",
        "Heading\n---",
        "***",
        "> quote",
        "- item\n\n\n\nout",
        "1. one",
    ),
    *("```", "~~~~\nopen", "    ```\n", "```\n## 7. x\n```", "````` `` `", "- ```\n  code\n```\n## out", "\t# tab"),
    *(
        "<script>alert(1)</script>",
        "<!-- ",
        "<![CDATA[",
        "</blockquote>",
        "<https://evil.example>",
        "&lt;b&gt;",
        "&#x3c;",
    ),
    *(
        "[click](https://evil.example)",
        "![](https://evil.example/pixel)",
        "[a]: https://evil.example\n\n[a]",
        "[^1]: x",
    ),
    *(
        "a | b\n--- | ---\n1 | 2",
        "\\",
        "\\\\",
        "\\<b>",
        "trailing\\\n\\",
        "*a* _b_ ~~c~~ `d`",
        "$x$",
        "a  \nb",
        "\n\na\n\n\nb",
    ),
    *(
        "\x1b]0;owned\x07\x1b[2J",
        "\u202ereversed",
        "a\u2028# b\x85# c\x0b# d\r# e",
        "\u200b# x",
        "\ufeff## y",
        "\xa0# z",
    ),
)
TEXTS = st.lists(
    st.sampled_from(ATTACKS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=4
).map("\n".join)

CALLS = st.builds(
    lambda name, command, result, error: ToolCall(
        tool_use_id="t", name=name, input={"command": command}, result=result, is_error=error
    ),
    TEXTS,
    TEXTS,
    st.none() | TEXTS,
    st.booleans(),
)


@st.composite
def entries(draw: st.DrawFn) -> HistoryEntry:
    """An entry with anything in it."""
    role, text = draw(st.sampled_from(HistoryRole)), draw(TEXTS)
    calls = tuple(draw(st.lists(CALLS, max_size=2))) if role is HistoryRole.ASSISTANT else ()
    uses = tuple(Block("tool_use", name=call.name, data=call.input) for call in calls)
    said = (Block("thinking", "hm"), Block("text", text)) if role is HistoryRole.ASSISTANT else ()
    return HistoryEntry(
        entry_id="e",
        role=role,
        text=text,
        time=draw(st.none() | st.just(TIME)),
        author=draw(st.none() | st.builds(Author, TEXTS, st.none() | TEXTS)),
        trust=draw(st.none() | st.sampled_from(Trust)),
        blocks=uses + said,
        tool_calls=calls,
        model=draw(TEXTS),
    )


def history(*found: HistoryEntry, channel: str = "c") -> History:
    """A history of these entries."""
    return History(channel=channel, session_id="s", entries=found)


def person(text: str, author: str | None = None) -> HistoryEntry:
    """Somebody's message."""
    return HistoryEntry(
        entry_id="e", role=HistoryRole.USER, text=text, time=TIME, author=Author(author) if author else None
    )


def tokens(document: str) -> list[Token]:
    """What a reader of Markdown sees, with tables and links that it finds by itself."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").parse(document)


def headings(found: Iterable[Token]) -> list[str]:
    """The kinds of the document's own headings."""
    return [token.tag for token in found if token.type == "heading_open" and token.level == 0]


def flat(found: Iterable[Token]) -> list[Token]:
    """All tokens, those within lines too."""
    return [each for token in found for each in (token, *(token.children or ()))]


def words(token: Token) -> str:
    """The text that a reader sees of a paragraph."""
    return "".join("\n" if each.type in {"hardbreak", "softbreak"} else each.content for each in token.children or ())


def quoted(found: list[Token]) -> list[str]:
    """The texts of the quotations, a paragraph each, with the blanks at the lines' ends taken off."""
    level, texts = 0, []
    for token in found:
        level += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        if level and token.type == "inline":
            texts += [line.strip() for line in words(token).split("\n")]
    return texts


def lines_that_show(text: str) -> list[str]:
    """The lines of a text that are not blank, as they are to be seen."""
    shown = (visible(line).expandtabs(4) if line[:1] in " \t" else visible(line) for line in lines_of(text))
    return [line.strip() for line in shown if line.strip(" \t")]


@given(st.lists(entries(), max_size=4), TEXTS)
def test_there_is_a_heading_for_each_entry_whatever_was_said(found: list[HistoryEntry], channel: str) -> None:
    """And nothing in the texts is a heading, a list, a table, HTML, a link or an image."""
    parsed = tokens(to_markdown(history(*found, channel=channel)))
    assert headings(parsed) == ["h1", *(["h2"] * len(found))]
    kinds = {token.type for token in flat(parsed)}
    assert kinds <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "text", "text_special"),
        *("blockquote_open", "blockquote_close", "hardbreak", "softbreak", "fence"),
    }
    fences = [token for token in parsed if token.type == "fence"]
    results = sum(call.result is not None for entry in found for call in entry.tool_calls)
    assert len(fences) == sum(len(entry.tool_calls) for entry in found) + results


@given(TEXTS)
def test_a_quotation_shows_the_text_as_it_was_written(text: str) -> None:
    """Line by line and mark by mark; only blanks around a line may go."""
    found = quoted(tokens(to_markdown(history(person(text)))))
    assert [line for line in found if line] == [line for line in lines_that_show(text) if line]


@given(TEXTS)
def test_a_fence_holds_what_the_tool_gave(text: str) -> None:
    """To the last backtick."""
    call = ToolCall(tool_use_id="t", name="Bash", input={}, result=text)
    entry = HistoryEntry(
        entry_id="e", role=HistoryRole.ASSISTANT, text="", blocks=(Block("tool_use", name="Bash"),), tool_calls=(call,)
    )
    fence = [token for token in tokens(to_markdown(history(entry))) if token.type == "fence"][-1]
    assert fence.content.removesuffix("\n") == "\n".join(map(visible, lines_of(text)))


@given(st.lists(entries(), max_size=3))
def test_no_document_controls_a_terminal(found: list[HistoryEntry]) -> None:
    """No escape, no bell, nothing that turns the direction of writing."""
    document = to_markdown(history(*found))
    assert not [char for char in document if char in "\x1b\x07\x08\r\x85\u2028\u202e" or ("\x80" <= char <= "\x9f")]


@given(st.lists(entries(), max_size=4))
def test_json_has_every_field(found: list[HistoryEntry]) -> None:
    """By the names that the records have, whatever was said."""
    said = history(*found)
    read = json.loads(to_json(said))
    assert read == json.loads(json.dumps(attrs.asdict(said), default=lambda time: time.isoformat()[:-6] + "Z"))


def test_a_conversation_reads_like_one() -> None:
    """Who, when, what; a tool with what it got and gave; what the assistant thought is left out."""
    call = ToolCall(tool_use_id="t", name="Bash", input={"command": "ls"}, result="a\n```", is_error=True)
    answer = HistoryEntry(
        entry_id="b",
        role=HistoryRole.ASSISTANT,
        text="Done.\n\n1. it",
        time=TIME,
        blocks=(Block("thinking", "hm"), Block("tool_use", name="Bash", data={}), Block("text", "Done.\n\n1. it")),
        tool_calls=(call,),
        model="sonnet",
    )
    asked = attrs.evolve(person("List <it>,\nplease", "Ana"), trust=Trust.EXTERNAL)
    shown = attrs.evolve(history(asked, answer), earlier="a", damaged=2)
    assert to_markdown(shown) == (
        "# c\n\nSession s, entries: 2.\n\nThere are earlier entries.\n\n"
        "Lines of the transcript that could not be read: 2.\n\n"
        "## 1. Person Ana (external), 2030-01-02 03:04:05 UTC\n\n"
        "> List \\<it\\>,\\\n> please\n\n"
        "## 2. Assistant (sonnet), 2030-01-02 03:04:05 UTC\n\n"
        'Tool Bash, given:\n\n```json\n{\n  "command": "ls"\n}\n```\n\n'
        "It failed:\n\n````text\na\n```\n````\n\n"
        "> Done.\n>\n> 1\\. it\n"
    )


def test_a_name_cannot_pass_for_another_role() -> None:
    """The word for the role comes first."""
    assert "## 1. Person Assistant, 2030" in to_markdown(history(person("x", "Assistant")))


@pytest.mark.parametrize("write", [to_markdown, to_json])
def test_an_empty_channel_is_a_document_too(write: object) -> None:
    """It says that there is nothing."""
    document = write(History(channel="c", session_id=None))  # type: ignore[operator] # both take a history
    assert "no conversation" in document or json.loads(document)["entries"] == []
