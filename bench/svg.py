"""The house style of the pictures: plain SVG that reads on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

_STYLE = """<style>
  text { fill: #1f2328 } .quiet { fill: #59636e } .good { fill: #1a7f37 } .bad { fill: #cf222e }
  .mine { fill: #1f6feb } .theirs { fill: #8c959f } .line { stroke: #d1d9e0 } .mark { stroke: #1f2328 }
  .curve { fill: none; stroke: #1f6feb; stroke-width: 1.5 } .page { fill: #ffffff } .bold { font-weight: bold }
  .title { font-size: 15px; font-weight: bold } .end { text-anchor: end } .middle { text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .good { fill: #3fb950 } .bad { fill: #f85149 }
    .mine { fill: #4493f8 } .theirs { fill: #656c76 } .line { stroke: #3d444d } .mark { stroke: #e6edf3 }
    .curve { stroke: #4493f8 } .page { fill: #0d1117 }
  }
</style>"""


def picture(width: float, height: float, title: str, subtitle: str, parts: Sequence[str]) -> str:
    """A whole picture; 50 units at its top are for the title."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">'
    )
    lines = [
        *(head, f"<title>{escape(title)}</title>", _STYLE),
        f'<rect class="page" width="{width:g}" height="{height:g}" rx="6"/>',
        *(text(12, 22, title, "title"), text(12, 41, subtitle, "quiet")),
    ]
    return "\n".join([*lines, *parts, "</svg>", ""])


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """Words at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A filled bar."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" rx="2"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "line") -> str:
    """A thin line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
