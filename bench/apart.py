"""A measurement in a Python process of its own: its memory, its start-up and its CPU time are of nothing else.

The function to run is named, not sent: an async function at the top of a module, with parameters that are plain JSON.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import trio

from bench.report import Round

Measurement = Callable[..., Awaitable[Round]]


async def apart(measurement: Measurement, **parameters: Any) -> Round:
    """Run an async function in a fresh process, and give what it found.

    Raises:
        RuntimeError: It failed; its traceback is on standard error.
    """
    asked = {"module": measurement.__module__, "function": measurement.__name__, "parameters": parameters}
    process = await trio.run_process(
        [sys.executable, "-m", "bench.apart"], stdin=orjson.dumps(asked), capture_stdout=True, check=False
    )
    if process.returncode != 0:
        raise RuntimeError(f"{measurement.__module__}.{measurement.__name__} ended with {process.returncode}")
    found: Round = orjson.loads(process.stdout)
    return found


def main() -> None:
    """Run what standard input names; write the figures on standard output."""
    asked = orjson.loads(sys.stdin.buffer.read())
    measurement: Measurement = getattr(importlib.import_module(asked["module"]), asked["function"])
    sys.stdout.buffer.write(orjson.dumps(trio.run(_run, measurement, asked["parameters"])))


async def _run(measurement: Measurement, parameters: dict[str, Any]) -> dict[str, float]:
    return dict(await measurement(**parameters))


if __name__ == "__main__":
    main()
