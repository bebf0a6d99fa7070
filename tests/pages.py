"""The pages for readers, and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
from markdown_it import MarkdownIt

CLONE = Path(__file__).resolve().parent.parent
README = CLONE / "README.md"
PAGES = sorted([README, *(CLONE / "docs").glob("*.md")])
"""What must show nothing that does not work."""

_NOTE: Final = re.compile(r"<!-- (?P<kind>file|not run): (?P<words>.+?) -->\s*\Z")


@attrs.frozen(kw_only=True)
class Block:
    """A block of code.

    Attributes:
        line: Where it begins, counted from 1.
        file: The file that the reader puts it into; empty for none.
        not_run: Why it cannot be run; empty where it can.
    """

    page: str
    line: int
    language: str
    text: str
    file: str = ""
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@attrs.frozen
class Command:
    """What is typed at a shell's prompt, and what is shown to come of it."""

    typed: str
    shown: str

    def matches(self, printed: str) -> bool:
        """Whether that is what came; ``...`` stands for anything."""
        return same(self.shown, printed)


def relative(path: Path) -> str:
    """The name of a file in the clone."""
    return str(path.relative_to(CLONE))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order; a comment right before one says what it is."""
    found = list[Block]()
    note = ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            assert token.map is not None
            said = _NOTE.search(note)
            kind, words = said.group("kind", "words") if said else ("", "")
            found.append(
                Block(
                    page=relative(page),
                    line=token.map[0] + 1,
                    language=token.info,
                    text=token.content,
                    file=words if kind == "file" else "",
                    not_run=words if kind == "not run" else "",
                )
            )
        note = token.content if token.type == "html_block" else ""
    return found


def programs(page: Path = README) -> list[str]:
    """The Python blocks of a page, in order."""
    return [block.text for block in blocks(page) if block.language == "python"]


def program_with(words: str) -> str:
    """The one program on all pages that has these words."""
    (found,) = [text for page in PAGES for text in programs(page) if words in text]
    return found


def commands(text: str) -> Iterator[Command]:
    """The commands of a console's block; a line that begins with ``> `` goes on with the one before."""
    typed, shown = "", list[str]()
    for line in text.splitlines():
        if line.startswith("$ "):
            if typed:
                yield Command(typed, "\n".join(shown))
            typed, shown = line[2:], []
        elif line.startswith("> ") and not shown:
            typed += f"\n{line[2:]}"
        else:
            assert typed, f"a console's block begins with a prompt, not with {line!r}"
            shown.append(line)
    if typed:
        yield Command(typed, "\n".join(shown))


def same(shown: str, printed: str) -> bool:
    """Whether a program printed what is shown; ``...`` stands for anything, and space at a line's end for nothing."""
    parts = [re.escape(part) for part in "\n".join(line.rstrip() for line in shown.strip().splitlines()).split("...")]
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(".*".join(parts), lines, re.DOTALL) is not None
