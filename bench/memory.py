"""What a process really holds: its own memory after all that could be given back was given back."""

from __future__ import annotations

import ctypes
import gc

import psutil


def settle() -> None:
    """Collect what is garbage, and have the C allocator give free pages back where it can be told to.

    Python's small objects live in arenas of their own, which go back to the system only when they are wholly free.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def own_bytes(pid: int | None = None) -> int:
    """The bytes of memory that only this process has, or another by its id: what would be free without it."""
    used: int = psutil.Process(pid).memory_full_info().uss
    return used
