"""A hook of mkdocs: pages may link to pages of the clone that are not in ``docs``, as readers of the clone see them.

These become pages beside the others. A link to what is not there stays as it is, which fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_OUTSIDE: Final = re.compile(r"\]\(\.\./([^)#]+)")
_CLONE: Final = Path(__file__).resolve().parent.parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to, under their names in the clone."""
    wanted = {
        name
        for page in files.documentation_pages()
        for name in _OUTSIDE.findall(page.content_string)
        if (_CLONE / name).is_file()
    }
    for name in sorted(wanted):
        files.append(File.generated(config, name, abs_src_path=str(_CLONE / name)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Link to all of them where they are in what is built."""
    return markdown.replace("](docs/", "](").replace("](../", "](")
