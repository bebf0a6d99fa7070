"""What a turn acts on: the output, the frames, the transcript, the queue and the children of one process."""

from __future__ import annotations

import os
import signal
import time

from .faults import Fault
from .frames import Frames, Message, line
from .ledger import Ledger
from .transcript import Transcript

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .options import Options

STDOUT = 1


class Wait:
    """What a turn waits for: a moment, a condition, or with neither nothing that ever comes.

    `tool` marks a tool phase, in which messages are steered into the turn and not queued behind it.
    """

    __slots__ = ("_ready", "_until", "tool")

    def __init__(
        self, seconds: float | None = None, ready: Callable[[], bool] | None = None, *, tool: bool = False
    ) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._ready = ready
        self.tool = tool

    def over(self) -> bool:
        """Whether the turn may go on."""
        if self._ready is not None and self._ready():
            return True
        return self._until is not None and time.monotonic() >= self._until

    def remaining(self) -> float | None:
        """Seconds to listen before asking again; None until something is read."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())


class Stage:
    """Shared by the host, which reads, and the turn, which answers."""

    def __init__(self, options: Options, session_id: str) -> None:
        self.options = options
        self.frames = Frames(options, session_id)
        self.transcript = Transcript(session_id, options.version)
        self.ledger = Ledger()
        self.fault = Fault()
        self.queue: list[Message] = []
        self.children: set[int] = set()
        self.muted = False
        """Nothing is written any more."""
        self.reading = True
        """Standard input is read."""
        self.deaf = False
        """SIGTERM, SIGINT and the end of input are ignored."""
        self.failed = False
        """The last result was an error, which shows in the exit code."""
        self._out: list[bytes] = []

    def emit(self, *frames: bytes) -> None:
        """Keep frames for the next flush."""
        if not self.muted:
            self._out.extend(frames)

    def flush(self) -> None:
        """Write what was kept, with one write where the pipe takes it."""
        if not self._out:
            return
        data = memoryview(b"".join(self._out))
        self._out.clear()
        try:
            while data:
                data = data[os.write(STDOUT, data) :]
        except BrokenPipeError:
            self.leave(1)

    def note_asked(self, message: Message) -> None:
        """Append the message to the file that counts how often the model was asked."""
        if self.options.asked is None:
            return
        record: dict[str, Any] = {
            "uuid": message.uuid,
            "text": message.text,
            "session_id": self.frames.session_id,
            "pid": os.getpid(),
        }
        descriptor = os.open(self.options.asked, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, line(record))
        os.close(descriptor)

    def spawn_sleep(self, seconds: str, *, keeps_stdout: bool = False) -> int:
        """Start `sleep` in a session of its own, as the real CLI starts every command; return its pid."""
        pid = os.fork()
        if pid == 0:
            _become_sleep(seconds, keeps_stdout=keeps_stdout)
        return pid

    def spawn_orphan(self, seconds: str) -> None:
        """Start `sleep` twice removed: no ancestor but the environment connects it with this process."""
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork() == 0:
                _become_sleep(seconds, keeps_stdout=False)
            os._exit(0)
        os.waitpid(pid, 0)

    def kill_children(self) -> None:
        """Kill the tools that run, as the real CLI does when it is interrupted or asked to end."""
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.children.clear()

    def leave(self, code: int) -> NoReturn:
        """End at once with this exit code, and with what was written so far."""
        self.flush()
        os._exit(code)


def _become_sleep(seconds: str, *, keeps_stdout: bool) -> NoReturn:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 2) if keeps_stdout else (0, 1, 2):
        os.dup2(nothing, descriptor)
    try:
        os.execlp("sleep", "sleep", seconds)  # noqa: S606 - a shell would be one process more
    finally:
        os._exit(127)
