"""Ownership of sessions: what is done about one that somebody else has.

Checked before a process is started for a session. A warm process keeps its session; a person who opens it in a
terminal meanwhile is seen only before the next start.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import attrs
import trio

from echo_actors.audit import Record
from echo_actors.claude.driver import Phase, TurnListener, TurnRequest
from echo_actors.claude.session_lock import Holder, SessionLock, lock_session
from echo_actors.claude.session_users import SessionUser, SessionUsers
from echo_actors.errors import CLIFailed
from echo_actors.events import Retrying
from echo_actors.models import SessionConflict

POLL = 0.2
"""Seconds between looks at a session that somebody else has: neither a lock nor a terminal calls when it lets go."""


@attrs.frozen
class Ownership:
    """Owns sessions for one engine.

    Attributes:
        conflict: What to do about a session that somebody else has.
        users: Finds the CLIs of others.
        config: Where the CLI keeps its sessions.
    """

    conflict: SessionConflict
    record: Record
    users: SessionUsers
    config: Path

    async def own(self, request: TurnRequest, listener: TurnListener) -> SessionLock:
        """Own the session of a request, or the new one that its copy is to become.

        It waits without an end of its own, on the start clock.

        Raises:
            CLIFailed: Somebody else has it and the setting is ``fail``; or it cannot be locked.
        """
        told = ""
        while True:
            taken = await self.take(request.session_id)
            if isinstance(taken, SessionLock):
                return taken
            if str(taken) != told:
                told = str(taken)
                self._tell(request, listener, told)
            match self.conflict:
                case SessionConflict.FAIL:
                    raise CLIFailed(f"session {request.session_id} is in use by {taken}")
                case SessionConflict.FORK:
                    lock = await self.own_new()
                    self.record(
                        "session.forked",
                        channel=request.channel,
                        session=lock.session_id,
                        previous=request.session_id,
                    )
                    return lock
                case SessionConflict.WAIT:
                    await trio.sleep(POLL)

    async def take(self, session_id: str) -> SessionLock | Holder | SessionUser:
        """Own a session, or say who has it.

        Raises:
            CLIFailed: It cannot be locked, or there is no telling who has it.
        """
        taken = await trio.to_thread.run_sync(lock_session, session_id, self.config)
        if isinstance(taken, Holder):
            return taken
        user: SessionUser | None = None
        seen = False
        try:
            user = await self.users.of(session_id)
            seen = True
        except OSError as problem:
            raise CLIFailed(f"whether session {session_id} is in use cannot be seen: {problem}") from problem
        finally:
            if user is not None or not seen:
                taken.release()
        return user or taken

    async def own_new(self) -> SessionLock:
        """Own a new session.

        Raises:
            CLIFailed: It cannot be locked.
        """
        lock = await trio.to_thread.run_sync(lock_session, str(uuid.uuid4()), self.config)
        if isinstance(lock, Holder):
            raise CLIFailed(f"a new session is already in use by {lock}")
        return lock

    def _tell(self, request: TurnRequest, listener: TurnListener, holder: str) -> None:
        self.record(
            "session.busy",
            channel=request.channel,
            session=request.session_id,
            holder=holder,
            conflict=self.conflict.value,
        )
        if self.conflict is SessionConflict.WAIT:
            listener.on_phase(Phase.STARTING)
            reason = f"session {request.session_id} is in use by {holder}"
            listener.on_event(
                Retrying(channel=request.channel, turn_id=request.turn_id, reason=reason, attempt=1, delay=POLL)
            )
