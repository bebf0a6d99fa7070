"""The turn runner: one turn, from its first message to the ends of all messages that joined it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import trio

from echo_actors.actors import turns
from echo_actors.actors.attempt import Attempt
from echo_actors.actors.batch import Batch, content_of
from echo_actors.actors.beginnings import Beginnings
from echo_actors.actors.endings import Endings
from echo_actors.actors.mailbox import Entry, EntryState, Mailbox
from echo_actors.actors.questions import Questions
from echo_actors.actors.services import Services, Spawn
from echo_actors.actors.session import Session
from echo_actors.actors.verdict import Stop, Verdict
from echo_actors.admission.gate import PASSING
from echo_actors.claude.driver import Phase
from echo_actors.errors import StoreError
from echo_actors.events import Retrying
from echo_actors.models import Answer, OutcomeKind
from echo_actors.state.records import Claim


@attrs.define(eq=False)
class TurnRunner:
    """Runs one channel's turns, one after the other.

    Attributes:
        claim: Gives the right to write the channel's records.
        batch: The running turn's messages; None between turns.
    """

    channel: str
    services: Services
    mailbox: Mailbox
    session: Session
    endings: Endings
    beginnings: Beginnings
    claim: Callable[[], Claim]
    spawn: Spawn
    batch: Batch | None = None
    _ticket: int = 0
    _attempt: Attempt | None = None
    _early_stop: Stop | None = None
    _steering: trio.Event | None = None

    async def serve(self, entry: Entry, ticket: int) -> None:
        """Bring a message that was taken out of the mailbox to its end, or back into the mailbox.

        Args:
            entry: The message.
            ticket: With which the gate let it pass.
        """
        self._ticket = ticket
        batch = self.batch = Batch(entry.message.trust, [entry])
        self.session.trust = batch.trust
        try:
            if entry.attempts and await self.beginnings.end_without_a_turn(entry):
                return
            if await self.beginnings.end_without_a_budget(entry):
                return
            if not await self.beginnings.begin(batch, self.beginnings.gather(entry)):
                return
            while batch:
                verdict, begun = await self._run(batch)
                if self._steering is not None:
                    # A message whose attempt is being counted belongs to this turn until it is known to be in it.
                    await self._steering.wait()
                await self._settle(batch, verdict, begun)
        except BaseException:
            self._give_back(batch.members, crashed=True)
            raise
        finally:
            self.batch = self._early_stop = None

    @property
    def phase(self) -> Phase | None:
        """How far the CLI has come with the turn; None while it has nothing to do with one."""
        return None if self._attempt is None else self._attempt.phase

    def runs_alone(self, entry: Entry) -> bool:
        """Whether the running turn is this message's, and no other's."""
        members = [] if self.batch is None else self.batch.members
        return [each for each in members if each.state is EntryState.RUNNING] == [entry]

    def stop(self, stop: Stop, *, now: bool = False) -> bool:
        """Ask the running turn to end; False when none is running. One that is only beginning will not begin."""
        if self.batch is None:
            return False
        if self._attempt is None:
            self._early_stop = self._early_stop or stop
        else:
            self._attempt.stop(stop, now=now)
        return True

    def answer_permission(self, request_id: str, answer: Answer) -> bool:
        """Answer a question of the running turn; False when it is over, or there is none of this name."""
        return self._attempt is not None and self._attempt.questions.answer(request_id, answer)

    def on_accepted(self, entry: Entry) -> None:
        """Do what a message's busy policy asks for, now that it is on disk."""
        if self.batch is None:
            return
        if self.batch.may_steer(entry):
            self._invite()
        elif self.batch.may_interrupt(entry):
            self.stop(Stop(OutcomeKind.SUPERSEDED, f"superseded by message {entry.message.message_id}"))

    # -- the turn

    async def _run(self, batch: Batch) -> tuple[Verdict, set[str]]:
        """Run until the CLI says something final; give the verdict, and the uuids of what the CLI had begun."""
        services = self.services
        request = await turns.request_for(batch, self.session)
        if self._early_stop is not None:
            if len(batch.entries) < len(batch.members):
                # What is left was steered: the CLI may have it, and must not run it after its end.
                await self.services.driver.retire(self.channel, self._early_stop.reason)
            return Verdict(kind=self._early_stop.kind, reason=self._early_stop.reason), set()
        publish = turns.publisher(batch.entries[0].message.message_id, services)
        attempt = self._attempt = Attempt(
            services.driver,
            request,
            turns.clocks(self.session.settings),
            publish,
            services.settings.interrupt_grace,
            self._invite,
            Questions(services, batch, publish, self.spawn),
        )
        try:
            verdict = await attempt.run()
        finally:
            self._attempt = None
        # A CLI that was killed, or that the machine could not start, says nothing of its session.
        gave_up = attempt.phase is Phase.STARTING and attempt.exit_code is not None and attempt.exit_code > 0
        if verdict.error == "cli_failed" and gave_up and self.session.failed_to_start():
            verdict = attrs.evolve(verdict, lost_session=True)
        return verdict, attempt.begun

    def _invite(self) -> None:
        """Let messages that wait to join the running turn do so."""
        head = self.mailbox.head()
        if self._steering is None and head is not None and self._may_join(head):
            self._steering = trio.Event()
            self.spawn(self._steer)

    def _may_join(self, entry: Entry) -> bool:
        running = self._attempt is not None and self._attempt.phase is Phase.RUNNING
        return running and self.batch is not None and self.batch.may_steer(entry) and not entry.attempts

    async def _steer(self) -> None:
        try:
            while self.batch and (entry := self.mailbox.head()) is not None and self._may_join(entry):
                self.mailbox.begin(entry)
                await self._steer_one(self.batch, entry)
        finally:
            if self._steering is not None:
                self._steering.set()
            self._steering = None

    async def _steer_one(self, batch: Batch, entry: Entry) -> None:
        try:
            await self.beginnings.begin(batch, [entry])
        except StoreError as error:
            self.services.record("turn.not_joined", channel=self.channel, reason=str(error))
            self._give_back(batch.take(batch.uuids_of(entry)))
            return
        content = await content_of([entry.message])
        if self._attempt is not None and batch is self.batch and entry.turn_id is not None:
            # When the CLI cannot take it now, it stays in the batch and is run after what is running.
            self.services.driver.steer(self.channel, entry.turn_id, content)

    # -- after a turn

    async def _settle(self, batch: Batch, verdict: Verdict, begun: set[str]) -> None:
        """Give each message that the verdict concerns its end, or its place in the mailbox back."""
        turns.tell_gate(verdict, self._ticket, self.services)
        turn_id, result = batch.turn_id, verdict.result
        undone: list[Entry] = []
        if verdict.kind is None:
            undone, ended = batch.take_all(), []
            await self.endings.save(self.claim(), verdict)
            turns.record_cut(self.channel, turn_id, verdict, self.services)
        elif result is not None:
            undone, ended = batch.take(result.returned), batch.take(result.uuids)
        else:
            ended = batch.take({turn_id, *begun})
            undone = batch.take_all()
        verdict = await self._or_recalled(verdict, ended)
        again = ended if self._is_worth_another(verdict, ended) else []
        if undone:
            await self._uncount(undone)
        if again:
            await self._retry(again, verdict, turn_id)
        elif ended:
            await self.endings.end(self.claim(), ended, verdict, turn_id)
        self._give_back([*again, *undone])

    async def _or_recalled(self, verdict: Verdict, ended: list[Entry]) -> Verdict:
        """For a message that the CLI says it did before: the answer that its transcript has."""
        if verdict.result is None or not verdict.result.replayed or not ended:
            return verdict
        recalled = await self.beginnings.recall(ended[0])
        if recalled is not None:
            return recalled
        reason = "the CLI says that it has done the message, and has no answer to it"
        return Verdict(kind=OutcomeKind.FAILED, reason=reason, error="replayed")

    def _is_worth_another(self, verdict: Verdict, ended: list[Entry]) -> bool:
        """Whether the messages go back to be started again."""
        if self.session.fault_in(verdict):
            return True
        if verdict.error == "replayed":
            # It is given to the CLI once more under another uuid; a second replay would be a third without end.
            return not any(entry.replayed for entry in ended)
        return verdict.error in PASSING and ended[0].attempts < self.services.settings.max_attempts

    async def _retry(self, entries: list[Entry], verdict: Verdict, turn_id: str) -> None:
        for entry in entries:
            entry.failure = verdict if verdict.error in PASSING else None
        if verdict.error == "replayed":
            await self._uncount(entries)
            for entry in entries:
                entry.replayed = True
        fault = self.session.fault_in(verdict)
        failed = attrs.evolve(verdict, kind=OutcomeKind.FAILED)
        await self.endings.save(self.claim(), failed)
        if fault:
            self.session.lose(fault)
        reason, attempt = verdict.reason, entries[0].attempts
        self.services.hub.publish(
            Retrying(
                channel=self.channel,
                message_id=entries[0].message.message_id,
                turn_id=turn_id,
                reason=reason,
                attempt=attempt,
                delay=0.0,
                turn_over=True,
                spent=None if verdict.result is None else verdict.result.spent,
            )
        )
        turns.record_retry(self.channel, turn_id, verdict, attempt, self.services)

    async def _uncount(self, entries: list[Entry]) -> None:
        """Take the attempt of messages back that the CLI did not begin, or that a drain cut."""
        ids = [entry.message.message_id for entry in entries]
        await self.endings.persist(lambda: self.services.store.unstart(self.claim(), ids))
        for entry in entries:
            entry.attempts -= 1

    def _give_back(self, entries: Iterable[Entry], *, crashed: bool = False) -> None:
        """Put those messages that have not ended back at the head of the mailbox, in order."""
        unfinished = {entry for entry in entries if entry.state is EntryState.RUNNING}
        back = sorted(unfinished, key=lambda entry: entry.message.sequence)
        for entry in back:
            entry.recovered = entry.recovered or crashed
        if back:
            self.mailbox.put_back(back)
