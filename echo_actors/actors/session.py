"""A channel's session as its actor holds it: the stored snapshot, and an id that has not yet proved itself."""

from __future__ import annotations

from datetime import datetime

import attrs

from echo_actors.actors.mailbox import Entry
from echo_actors.actors.services import Services
from echo_actors.actors.verdict import Verdict
from echo_actors.claude.driver import Launch, SessionRequest
from echo_actors.claude.failures import EMPTY
from echo_actors.claude.launching import launch_for
from echo_actors.events import SessionChanged
from echo_actors.models import OutcomeKind, Trust
from echo_actors.settings import NO_OPTIONS, ChannelOptions, Settings
from echo_actors.settings.layers import for_trust, in_channel
from echo_actors.state.records import Charge, Claim, SessionSnapshot


@attrs.define(eq=False)
class Session:
    """Which session the next turn runs in, and what the snapshot becomes after it.

    A session's id is stored only after a turn in it succeeded; until then it is a candidate, kept in memory (and with
    each started message), so that a failed first turn leaves no session behind that cannot be resumed.

    Attributes:
        snapshot: As stored; None for a channel that was never used.
        trust: The level of trust of the turn that comes or runs; before the first one, of most people.
    """

    channel: str
    services: Services
    snapshot: SessionSnapshot | None = None
    trust: Trust = Trust.MEMBER
    _candidate: str | None = None
    _failed_starts: int = 0
    _options: ChannelOptions | None = None
    _settings: Settings | None = None
    _launches: dict[Trust, Launch] = attrs.Factory(dict)

    @property
    def established(self) -> bool:
        """Whether a turn has succeeded in the current session."""
        return self.snapshot is not None and self.snapshot.session_id is not None

    @property
    def session_id(self) -> str:
        """The id that the next turn runs under."""
        if self.snapshot is not None and self.snapshot.session_id is not None:
            return self.snapshot.session_id
        if self._candidate is None:
            self._candidate = self.services.driver.new_session(self.channel, self.launch)
        return self._candidate

    @property
    def known_id(self) -> str | None:
        """The id of the conversation as far as there is one; that of a first turn counts, which may be running."""
        return self.session_id if self.established else self._candidate

    def id_for(self, entry: Entry) -> str:
        """The id that a message's turn runs under: of a first turn that was cut, the one that it began."""
        if not self.established and entry.recovered and entry.session_id is not None:
            self._candidate = entry.session_id
        return self.session_id

    @property
    def options(self) -> ChannelOptions:
        """What was set for the channel while the engine ran."""
        return NO_OPTIONS if self.snapshot is None else self.snapshot.options

    @property
    def settings(self) -> Settings:
        """The settings as they hold in this channel."""
        options = self.options
        if self._settings is None or options is not self._options:
            settings = in_channel(self.services.settings, self.channel, options)
            shared = settings is self.services.settings
            self._options, self._settings = options, settings
            self._launches = self.services.launches if shared else {}
        return self._settings

    @property
    def launch(self) -> Launch:
        """How the CLI is to run for the next turn."""
        settings = self.settings
        launch = self._launches.get(self.trust)
        if launch is None:
            held = for_trust(settings, self.trust)
            ours = held is self.services.settings
            launch = self.services.launch if ours else launch_for(held, self.services.persona.file)
            self._launches[self.trust] = launch
        return launch

    def request(self) -> SessionRequest:
        """What a process for the next turn is asked for by."""
        return SessionRequest(
            channel=self.channel, session_id=self.session_id, established=self.established, launch=self.launch
        )

    def base(self, now: datetime) -> SessionSnapshot:
        """The snapshot to build on, a new one for a new channel."""
        if self.snapshot is not None:
            return self.snapshot
        return SessionSnapshot(
            channel=self.channel,
            session_id=None,
            model=self.settings.model,
            created_at=now,
            last_message_at=now,
        )

    def after(self, verdict: Verdict, *, answered: int, now: datetime) -> SessionSnapshot | None:
        """The snapshot after an attempt that ended now; None when it changes nothing."""
        result = verdict.result
        if result is None:
            return None
        base = self.base(now)
        session_id = result.session_id if verdict.kind is OutcomeKind.ANSWERED else base.session_id
        if session_id is None:
            self._candidate = result.session_id
        return base.after_turn(
            result.spent,
            messages=answered,
            now=now,
            session_id=session_id,
            model=self.settings.model,
            working_dir=str(self.launch.working_dir),
            persona_hash=self.services.persona.digest if answered else base.persona_hash,
        )

    def adopt(self, stored: SessionSnapshot) -> None:
        """Take a stored snapshot as the current one, and announce a change of session."""
        before, self.snapshot = self.snapshot, stored
        previous = before.session_id if before is not None else None
        self._failed_starts = 0
        if stored.session_id is not None:
            self._candidate = None
        if stored.session_id != previous:
            self._announce(stored.session_id, previous, "started" if previous is None else "changed by the CLI")
        if before is not None and before.persona_hash and before.persona_hash != stored.persona_hash:
            self._announce(stored.session_id, previous, "persona changed")

    async def save(self, claim: Claim, snapshot: SessionSnapshot, charge: Charge | None) -> None:
        """Keep a snapshot by itself, and what led to it."""
        self.adopt(await self.services.store.save(claim, snapshot, charge))

    def failed_to_start(self) -> bool:
        """A process that was to resume the session ended before it said anything; True when it happens again."""
        self._failed_starts += 1
        return self.established and self._failed_starts > 1

    def fault_in(self, verdict: Verdict) -> str:
        """Why a verdict shows that the session cannot be used any more; empty when it does not."""
        result = verdict.result
        if verdict.lost_session:
            return verdict.reason
        if result is not None and result.error == EMPTY and not result.spent.cost_usd and self.established:
            return "it answers nothing, at no cost"
        return ""

    def lose(self, reason: str) -> None:
        """Give the session up: the next turn begins a new one."""
        previous = self.snapshot.session_id if self.snapshot is not None else None
        if self.snapshot is not None:
            self.snapshot = attrs.evolve(self.snapshot, session_id=None)
        self._candidate, self._failed_starts = None, 0
        self._announce(None, previous, f"lost: {reason}")

    async def clear(self, claim: Claim) -> bool:
        """Forget the conversation and its counts; the channel's options stay."""
        previous = self.snapshot
        self._candidate = None
        if previous is None or previous.session_id is None:
            return False
        self.snapshot = await self.services.store.save(claim, self._vacant())
        self._announce(None, previous.session_id, "cleared")
        return True

    async def take_over(self, claim: Claim, session_id: str) -> None:
        """Go on in a session that was begun elsewhere, from the next turn on; what it took there is not counted."""
        previous = self.snapshot.session_id if self.snapshot is not None else None
        taken = attrs.evolve(self._vacant(), session_id=session_id, working_dir=str(self.launch.working_dir))
        self.snapshot = await self.services.store.save(claim, taken)
        self._candidate, self._failed_starts = None, 0
        self._announce(session_id, previous, "adopted")

    async def begin_as(self, claim: Claim, origin: SessionSnapshot, copy_id: str) -> None:
        """Begin as a copy of another channel's conversation; the copy is there, under this id."""
        revision = self.snapshot.revision if self.snapshot is not None else 0
        forked = origin.forked(self.channel, copy_id, revision=revision, now=self.services.now())
        self.snapshot = await self.services.store.save(claim, forked)
        self._candidate, self._failed_starts = None, 0
        self._announce(copy_id, None, f"forked from channel {origin.channel}")

    async def configure(self, claim: Claim, options: ChannelOptions, reason: str) -> None:
        """Let other options hold from the next turn on."""
        model = in_channel(self.services.settings, self.channel, options).model
        base = self.base(self.services.now())
        self.snapshot = await self.services.store.save(claim, attrs.evolve(base, model=model, options=options))
        self._announce(self.snapshot.session_id, self.snapshot.session_id, reason)

    def _vacant(self) -> SessionSnapshot:
        """The snapshot of the channel without a conversation."""
        now = self.services.now()
        base = self.base(now)
        return SessionSnapshot(
            channel=self.channel,
            session_id=None,
            model=base.model,
            created_at=now,
            last_message_at=now,
            revision=base.revision,
            options=base.options,
        )

    def _announce(self, session_id: str | None, previous: str | None, reason: str) -> None:
        self.services.hub.publish(
            SessionChanged(channel=self.channel, session_id=session_id, previous=previous, reason=reason)
        )
        self.services.record(
            "session.changed", channel=self.channel, session=session_id or "", previous=previous or "", reason=reason
        )
