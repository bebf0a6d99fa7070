"""Records of the log itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Field, Kind
from echo_actors.audit.vocabulary.words import HASH

LOG: Final[Mapping[str, Kind]] = {
    "audit.torn": Kind(
        "The bytes before this record are what a crash left of one; `prev` is their hash.",
        {
            "bytes": Field(int, "How many.", "bytes"),
            "sha256": Field(str, "The SHA-256 of them."),
            "after_sha256": Field(str, "The SHA-256 of the whole line before them."),
        },
    ),
    "audit.cut": Kind(
        "Lines that the store knows of were not there at the start.",
        {
            "expected_seq": Field(int, "The last line that the store knows of."),
            "expected_sha256": HASH,
            "found_seq": Field(int, "The last line that was there; 0 without one."),
            "found_sha256": HASH,
        },
    ),
    "audit.lost": Kind(
        "Here records are missing: the disk took none for too long, or they could not be made.",
        {"records": Field(int, "How many."), "problem": Field(str, "Why.")},
    ),
    "audit.pruned": Kind(
        "Old files are about to be removed, because of their age or number.",
        {
            "files": Field(int, "How many."),
            "until_seq": Field(int, "The last line that they have."),
            "until_sha256": HASH,
        },
    ),
    "audit.unsynced": Kind(
        "The end of a turn was announced before the log was on the disk, because that took too long.",
        {
            "times": Field(int, "How often in this run."),
            "problem": Field(str, "What the disk says.", null="it only took too long"),
        },
    ),
}
