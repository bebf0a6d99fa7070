"""``python -m bench.pictures``: makes again what is made of the kept results: pictures, summary, the pages' tables."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.soak_picture import draw_soak
from bench.summary import Row, markdown, number, read_kept, rows
from bench.svg import bar, line, picture, text

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = ROOT / "bench" / "results"
BEGIN: Final = "<!-- made of bench/results by python -m bench.pictures -->"
END: Final = "<!-- end of what is made -->"
PAGES: Final = (ROOT / "README.md", ROOT / "docs" / "performance.md")
"""Those that show the table."""

_WIDTH, _ROW, _TOP = 920.0, 30.0, 64.0
_FARTHEST = 8.0
"""How many times better or worse than its target a figure is drawn at most."""


def draw_peers(document: Mapping[str, Any]) -> str:
    """The turns per second of each contender as bars, with the spread of the rounds."""
    figures = {name: medians["turns_per_s"] for name, medians in document["medians"].items()}
    sizes = document["parameters"]
    left, right = 170.0, _WIDTH - 130
    scale = (right - left) / max(each["high"] for each in figures.values())
    parts = []
    for place, (name, figure) in enumerate(sorted(figures.items(), key=lambda pair: -pair[1]["median"])):
        y = _TOP + place * _ROW
        low, high = (left + scale * figure[end] for end in ("low", "high"))
        parts += [
            text(left - 10, y + 14, name, "bold end" if name == "engine" else "end"),
            bar(left, y, scale * figure["median"], 20, "mine" if name == "engine" else "theirs"),
            line(low, y + 10, high, y + 10, "mark"),
            *(line(end, y + 6, end, y + 14, "mark") for end in (low, high)),
            text(max(high, left + scale * figure["median"]) + 8, y + 14, number(figure["median"])),
        ]
    title = f"Turns per second, {sizes['channels']} channels x {sizes['messages']} messages, start-up included"
    count = next(iter(figures.values()))["count"]
    rounds = "one round" if count == 1 else f"the median of {count} rounds, and the lowest and highest"
    subtitle = f"The same CLI and simulated model for all; {rounds}"
    return picture(_WIDTH, _TOP + _ROW * len(figures) + 6, title, subtitle, parts)


def draw_targets(rows: Sequence[Row]) -> str:
    """Each target as a bar from where it is to where the measured figure is, on a scale of factors."""
    left, right = 480.0, _WIDTH - 130
    middle, bottom = (left + right) / 2, _TOP + _ROW * len(rows)
    parts = [line(middle, _TOP - 8, middle, bottom, "mark")]
    for place, row in enumerate(rows):
        y = _TOP + place * _ROW
        words, wanted, median, _, verdict = row.cells
        parts += [text(left - 10, y + 14, f"{words}  {wanted}", "end")]
        if row.measured is None:
            parts.append(text(middle + 8, y + 14, verdict, "quiet"))
            continue
        reach = (right - middle) * math.log(_better(row, row.measured.median)) / math.log(_FARTHEST)
        kind = {"met": "good", "missed": "bad"}.get(verdict, "theirs")
        parts += [
            bar(min(middle, middle + reach), y, abs(reach), 20, kind),
            text(right + 10, y + 14, f"{median}  {verdict}", kind),
        ]
    subtitle = (
        f"From the target (line) to the median: better to the right, worse to the left, up to {_FARTHEST:g} times"
    )
    return picture(_WIDTH, bottom + 6, "What must be reached, and what is", subtitle, parts)


def publish(results: Path, pictures: Path) -> list[Path]:
    """Make the summary beside the results, and the pictures; give their paths."""
    kept = read_kept(results)
    made = {results / "summary.md": markdown(kept), pictures / "bench-targets.svg": draw_targets(rows(kept))}
    if "channels" in kept:
        made[pictures / "bench-peers.svg"] = draw_peers(kept["channels"])
    if "soak" in kept:
        made[pictures / "bench-soak.svg"] = draw_soak(kept["soak"])
    for path, words in made.items():
        path.write_text(words, encoding="utf-8")
    return list(made)


def with_table(page: str, results: Path) -> str:
    """A page with the table of the kept results between its marks.

    Raises:
        ValueError: It has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no marks {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n{markdown(read_kept(results))}{end}{after}"


def publish_all() -> list[Path]:
    """Make everything that is published of the kept results."""
    for page in PAGES:
        page.write_text(with_table(page.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    return [*publish(RESULTS, ROOT / "docs"), *PAGES]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.pictures", description="Draw the results that are kept.")
    parser.add_argument(
        "--results", type=Path, help="draw those of this directory, into it, and leave the pages alone"
    )
    options = parser.parse_args(arguments)
    for path in publish(options.results, options.results) if options.results else publish_all():
        print(f"made {path}")


def _better(row: Row, measured: float) -> float:
    """How many times better than its target a figure is, within what is drawn."""
    good, bad = (measured, row.target.limit) if row.target.sense == ">=" else (row.target.limit, measured)
    if not bad:
        return 1.0 if not good else _FARTHEST
    return min(max(good / bad, 1 / _FARTHEST), _FARTHEST)


if __name__ == "__main__":
    main()
