"""Where keys are in a TOML document."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_actors.settings.toml_lines import key_lines, line_of

DOCUMENT = r"""
# a = 0
a = 1
"b [c" = [ # x = [
  "]", '}', # ]
  QQQ
  d = 1 \QQQ [QQQ",
]
text = QQQ
[e]
""\"QQQ""
literal = ZZZ
[f]
ZZZ''
g.h = {i = 1, "j.k" = {l = []}}

[m."n.o"] # comment
  p = 2
  [m.q]
[[r]]
s = 1
[[r]]
t = 1
[[r.u]]
v = [{w = 1}]
""".replace("QQQ", '"' * 3).replace("ZZZ", "'" * 3)


def test_each_key_has_its_line() -> None:
    """Quoted ones, dotted ones, those in tables and in arrays; what is within texts and comments is none."""
    assert set(tomllib.loads(DOCUMENT)) == {"a", "b [c", "text", "literal", "g", "m", "r"}
    assert key_lines(DOCUMENT) == {
        ("a",): 3,
        ("b [c",): 4,
        ("text",): 9,
        ("literal",): 12,
        ("g",): 15,
        ("g", "h"): 15,
        ("g", "h", "i"): 15,
        ("g", "h", "j.k"): 15,
        ("g", "h", "j.k", "l"): 15,
        ("m",): 17,
        ("m", "n.o"): 17,
        ("m", "n.o", "p"): 18,
        ("m", "q"): 19,
        ("r",): 20,
        ("r", "s"): 21,
        ("r", "t"): 23,
        ("r", "u"): 24,
        ("r", "u", "v"): 25,
        ("r", "u", "v", "w"): 25,
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_ends_of_lines_do_not_matter(end: str) -> None:
    """Also within texts, and where the last line has none."""
    assert key_lines(end.join(['a = """', 'x"""', "b = 1"])) == {("a",): 1, ("b",): 3}


def test_a_key_that_is_not_there_is_where_its_table_is() -> None:
    """Or nowhere."""
    lines = key_lines("a = 1\n[b.c]\nd = 1")
    assert [line_of(key, lines) for key in (("b", "c", "x", "y"), ("b", "c", "d"), ("x", "d"))] == [2, 3, 0]


def quoted(text: str) -> str:
    """A text on one line."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def in_lines(text: str) -> str:
    """The same on many, with what looks like more of the document."""
    return '""' + quoted(f"\n[x]\n{text}\ny = [\n") + '""'


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8) | st.sampled_from(
    ["[", "]", "{", "#", "'", "''", "'''", '"""', "a#b", "x = 1"]
)
FORMS = {
    "a text": lambda key, text: f"{key} = {quoted(text)} # {text}",
    "a text in lines": lambda key, text: f"{key} = {in_lines(text)}",
    "an array": lambda key, text: f"{key} = [ # ] {text}\n {quoted(text)}, # [\n {in_lines(text)},\n]",
    "a table": lambda key, text: f"[{key}] # {text}\n'' = {in_lines(text)}",
}


@given(st.lists(st.tuples(WORDS, WORDS, st.sampled_from(sorted(FORMS))), max_size=12))
def test_every_key_is_found_where_it_was_written(entries: list[tuple[str, str, str]]) -> None:
    """Whatever is in the texts around it."""
    document, expected = "", {}
    for number, (name, text, form) in enumerate(entries):
        key = f"{name}{number}"
        expected[key] = document.count("\n") + 1
        document += FORMS[form](quoted(key), text) + "\n"
    tomllib.loads(document)
    assert {key[-1]: line for key, line in key_lines(document).items() if key[-1]} == expected
