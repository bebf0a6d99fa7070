"""Secrets, and texts without them: what a variable's value looks like on its way, and a mask for all of it.

A secret is known by its variable's name (``GITHUB_TOKEN``), because it is the password in a URL (``postgres://u:p@h``),
because the setting ``secrets`` names its variable, or because it has a form that only secrets have (``ghp_...``).
A known value is found as it is, line by line, escaped as in JSON, encoded as in URLs, and in base64, also with other
things before and after it there; so is a field that is the SHA-256 of the value alone. It is not found when it is cut
up, spelled, or encoded in another way.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

SHORTEST: Final = 8
"""Characters of a value below which its variable's name alone makes it no secret: too many words would be masked."""

SHORTEST_NAMED: Final = 4
"""The same for variables that the setting ``secrets`` names."""

SHORTEST_LINE: Final = 16
"""Characters of a line of a longer value from which that line alone is masked too."""

_TELLING: Final = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|APIKEY|PRIVATEKEY"
    r"|(?:^|[_-])(?:KEYS?|PASS|PW|AUTH|AUTHORIZATION|DSN|COOKIE)(?:[_-]|$)",
    re.IGNORECASE,
)
"""Names, of variables and of whatever else, whose values are secrets. AUTHOR, KEYBOARD and PWD are not among them."""

_PASSWORD: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*:([^\s/@]+)@")

_FORMS: Final[Mapping[str, str]] = {
    "Anthropic key": r"sk-ant-[\w-]{8,}",
    "API key": r"sk-[\w-]{20,}",
    "GitHub token": r"gh[opsur]_\w{20,}|github_pat_\w{20,}",
    "GitLab token": r"glpat-[\w-]{16,}",
    "Slack token": r"xox[abeoprs]-[\w-]{10,}",
    "AWS key": r"AKIA[A-Z0-9]{16}|ASIA[A-Z0-9]{16}",
    "Google key": r"AIza[\w-]{35}",
    "bearer token": r"Bearer +[\w.~+/=-]{16,}|bearer +[\w.~+/=-]{16,}",
    # Not within a word: of a text that repeats these letters, each place would be looked at to the text's end.
    "JSON web token": r"eyJ(?<![\w-]eyJ)[\w-]{10,}\.[\w-]{10,}\.[\w-]*",
    "user of a URL": r"://[^\s/:@]*:[^\s/@]+@",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
}
"""What is a secret by its form alone. Each begins with a letter that is given: the search is quick only then."""

_HEXADECIMAL: Final = re.compile(r"[0-9a-f-]+")
_NOTHING: Final = r"(?!)"

_REMEMBERED: Final = 4096
_SHORT: Final = 256

Mask = Callable[[str], str]


def secrets_in(variables: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """The secret values in an environment, each with the name of its variable.

    Args:
        variables: The environment.
        named: Names of variables that are secret whatever they are called.
    """
    found: dict[str, str] = {}
    for name, value in sorted(variables.items()):
        text = value.strip()
        if len(text) >= SHORTEST_NAMED if name in named else _is_secret(name, text):
            found.setdefault(text, name)
        for password in _PASSWORD.findall(text):
            for each in {password, unquote(password)}:
                if len(each) >= SHORTEST_NAMED:
                    found.setdefault(each, name)
    return found


def sounds_secret(name: str) -> bool:
    """Whether the value of something that is called so is a secret: of a variable, an option, a header."""
    return bool(_TELLING.search(name))


def hidden(name: str) -> str:
    """What stands in place of a secret."""
    return f"[secret {name}]"


def _is_secret(name: str, value: str) -> bool:
    # The name of a file, as in GOOGLE_APPLICATION_CREDENTIALS, tells nothing of what is in it.
    return sounds_secret(name) and len(value) >= SHORTEST and not os.path.exists(value)  # noqa: PTH110 - Path raises for a long text


def masking(secrets: Mapping[str, str]) -> Mask:
    """Make a function that replaces these values, and what has the form of a secret, by ``[secret NAME]``.

    Args:
        secrets: Values, and what to call each.
    """
    names: dict[str, str] = {}
    for value, name in secrets.items():
        for form in _forms(value):
            names.setdefault(form, name)
    digests = {digest: name for value, name in secrets.items() for digest in _digests(value)}
    pattern = re.compile("|".join([*_branches(_tree(names)), *_FORMS.values()]))
    # Most texts are ids and hashes, and most secrets cannot be in those.
    hexadecimal = re.compile("|".join(_branches(_tree(filter(_HEXADECIMAL.fullmatch, names)))) or _NOTHING)

    def replace(found: re.Match[str]) -> str:
        name = names.get(found[0])
        if name is None:
            name = next(each for each, form in _FORMS.items() if re.fullmatch(form, found[0]))
        return f"://{hidden(name)}@" if found[0].startswith("://") else hidden(name)

    # Names of channels, sessions and models come again and again, and a look is quicker than a search.
    clean: set[str] = set()

    def mask(text: str) -> str:
        if text in clean:
            return text
        if text in digests:
            return hidden(digests[text])
        masked = (hexadecimal if _HEXADECIMAL.fullmatch(text) else pattern).sub(replace, text)
        if len(text) <= _SHORT and masked == text:
            if len(clean) >= _REMEMBERED:
                clean.clear()
            clean.add(text)
        return masked

    return mask


_Tree = dict[str, Any]
"""Letters, each with what may follow it; "" where a text ends."""


def _tree(texts: Iterable[str]) -> _Tree:
    root: _Tree = {}
    for text in texts:
        node = root
        for letter in text:
            node = node.setdefault(letter, {})
        node[""] = {}
    return root


def _branches(tree: _Tree) -> list[str]:
    """A pattern for each beginning that texts have in common. Of two texts it finds the longer one."""
    found = []
    for letter, node in sorted(tree.items()):
        letters = re.escape(letter)
        while len(node) == 1 and "" not in node:
            ((letter, node),) = node.items()  # noqa: PLW2901 - goes down where there is but one way
            letters += re.escape(letter)
        rest = _branches({each: below for each, below in node.items() if each})
        ending = "?" if "" in node and rest else ""
        found.append(letters + (f"(?:{'|'.join(rest)}){ending}" if rest else ""))
    return found


def _forms(value: str) -> Iterator[str]:
    """What a value looks like on its way."""
    lines = [line.strip() for line in value.splitlines()]
    for text in [value, *(line for line in lines if len(line) >= SHORTEST_LINE)]:
        yield text
        for ascii_only in (False, True):
            yield json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield json.dumps(text)[1:-1].replace("/", "\\/")
        for encoded in (quote(text, safe=""), quote(text), quote_plus(text)):
            yield encoded
            yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)
    data = value.encode("utf-8", "surrogatepass")
    yield from _in_base64(data)


def _digests(value: str) -> Iterator[str]:
    """What records have in place of a text that is nothing but this value."""
    for end in ("", "\n"):
        yield hashlib.sha256((value + end).encode("utf-8", "surrogatepass")).hexdigest()


def _in_base64(data: bytes) -> Iterator[str]:
    """The characters that stand for these bytes whatever is around them: three texts, by where they begin."""
    for before in range(3):
        # A character is these bytes' own when all of its six bits are; the first may begin within a byte before.
        text = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        inner = text[first:last]
        if len(inner) >= SHORTEST:
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))
