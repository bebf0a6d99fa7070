"""Text for chat platforms: messages that are not too long, and edits that are not too many."""

from echo_actors.rendering.coalescing import Edits, coalesce
from echo_actors.rendering.growing import Change, GrowingMessages
from echo_actors.rendering.platform import DISCORD, LEAST_LIMIT, SLACK, TELEGRAM, Platform, Unit
from echo_actors.rendering.splitting import Piece, pieces, split

__all__ = [
    "DISCORD",
    "LEAST_LIMIT",
    "SLACK",
    "TELEGRAM",
    "Change",
    "Edits",
    "GrowingMessages",
    "Piece",
    "Platform",
    "Unit",
    "coalesce",
    "pieces",
    "split",
]
