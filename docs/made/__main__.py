"""``python -m docs.made``: writes the pages that are made of the code."""

from __future__ import annotations

from docs.made import DOCS, pages


def main() -> None:
    """Write all of them."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
