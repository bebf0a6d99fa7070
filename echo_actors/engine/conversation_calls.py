"""The calls that concern what was said in a channel: to read it again, and to go on from it in another."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import trio

from echo_actors.actors.session import Session
from echo_actors.claude.driver import KeptSession, SessionLost
from echo_actors.engine.calls import Calls
from echo_actors.engine.intake import check_channel, check_limit
from echo_actors.engine.recorded import named
from echo_actors.errors import ConversationExists, InvalidMessage, NoConversation, TranscriptMissing
from echo_actors.history import History
from echo_actors.state.records import Claim, SessionSnapshot


class ConversationCalls(Calls):
    """A channel's conversation."""

    async def history(self, channel: str, *, limit: int | None = 100, before: str | None = None) -> History:
        """What was said in the channel's conversation, newest last; empty when it has none.

        It is read from the CLI's transcript, in a thread, so a running turn is there as far as it came, and what was
        said before a crash too. After ``clear`` or a lost session it begins anew.

        Args:
            channel: The conversation's key.
            limit: The most entries, the newest; None for all of them.
            before: The id of an entry: those before it. The ``earlier`` of one page gives the page before.

        Raises:
            InvalidMessage: The channel's name cannot be one, the limit is below 1, or there is no such entry.
            TranscriptMissing: The transcript is gone.
            CLIFailed: The transcript cannot be read.
        """
        check_limit(limit)
        snapshot = await self._services.store.snapshot(check_channel(channel))
        stored = snapshot.session_id if snapshot is not None else None
        actor = self._supervisor.actors.get(channel)
        session_id = stored or (actor.session.known_id if actor is not None else None)
        if session_id is None:
            return History(channel=channel, session_id=None)
        kept = self._kept(channel, session_id, snapshot)
        found = await self._services.driver.history(kept, limit=limit, before=before)
        if found is not None:
            return await named(found, self._services.store)
        if stored is not None:
            raise TranscriptMissing(channel, session_id, str(kept.working_dir))
        return History(channel=channel, session_id=None)

    async def fork(self, channel: str, new_channel: str) -> None:
        """Let a new channel begin with a copy of this one's conversation, once its running turn has ended.

        The copy is made at once; from then on the two know nothing of each other. What was chosen for the channel, as
        its model, holds in the new one too. Counts and costs of the new one begin at nothing. After a crash the new
        channel has the whole copy, or no conversation.

        Raises:
            InvalidMessage: A channel's name cannot be one, or both are the same.
            NoConversation: There is nothing to copy.
            ConversationExists: The new channel has a conversation already.
            TranscriptMissing: The store knows the conversation, and the CLI has it no more.
            CLIFailed: The transcript cannot be copied.
            StoreError: The new channel could not be kept.
            EngineClosed: The engine is draining.
        """
        if check_channel(channel) == check_channel(new_channel):
            raise InvalidMessage("a conversation cannot be forked into its own channel")
        stored = await self._services.store.snapshot(new_channel)
        if stored is not None and stored.session_id is not None:
            # Looked at again below; but nobody shall wait for a running turn first.
            raise ConversationExists(new_channel)
        actors = {each: self._supervisor.actor(each) for each in (channel, new_channel)}
        claims: dict[str, Claim] = {}
        async with AsyncExitStack() as between:
            # In one order, so that no two forks wait for each other.
            for each in sorted(actors):
                claims[each] = await between.enter_async_context(actors[each].between_turns())
            with trio.CancelScope(shield=True):
                origin, target = actors[channel].session, actors[new_channel].session
                session_id = await self._fork(channel, origin.snapshot, target, claims[new_channel])
                actors[new_channel].mailbox.resize(target.settings.mailbox_size)
        self._services.record("operator.fork", channel=channel, forked=new_channel, session=session_id)

    # -- within

    async def _fork(self, channel: str, origin: SessionSnapshot | None, target: Session, claim: Claim) -> str:
        if origin is None or origin.session_id is None:
            raise NoConversation(channel)
        if target.established:
            raise ConversationExists(target.channel)
        kept = self._kept(channel, origin.session_id, origin)
        try:
            copy_id = await self._services.driver.fork(kept)
        except SessionLost:
            raise TranscriptMissing(channel, origin.session_id, str(kept.working_dir)) from None
        await target.begin_as(claim, origin, copy_id)
        await self._services.driver.retire(target.channel, "its channel was forked into")
        return copy_id

    def _kept(self, channel: str, session_id: str, snapshot: SessionSnapshot | None) -> KeptSession:
        ran_in = snapshot.working_dir if snapshot is not None else ""
        directory = Path(ran_in) if ran_in else self._services.launch.working_dir
        return KeptSession(channel=channel, session_id=session_id, working_dir=directory)
