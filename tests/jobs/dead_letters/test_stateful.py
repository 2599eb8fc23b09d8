"""Stateful test of SQS faults, crashes and operators: no letter is lost or silently sent twice (I9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import Any, ClassVar

import pytest
from django.db.models import F
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.dead_letters import operations, replay, scan, send_outcomes, sending, snapshot
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging import dispatcher
from jobs.models import DeadLetter, DeadLetterQueue, Job, Outbox, ReplayAttempt, Status
from jobs.runs.timeline import Actor
from opsconsole_worker import sqs
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories
from tests.fakes import sqs as fakes
from tests.jobs.dead_letters import account as accounts
from tests.jobs.dead_letters.account import DLQ, FIFO, FIFO_DLQ, QUEUE, Account, Clock

State = DeadLetter.State
PEOPLE = [Actor.operator(name, None) for name in ("olga", "otto")]


class Killed(BaseException):
    """The process was killed at this point."""


@dataclass(eq=False)
class Hostile(fakes.FakeSqs):
    """A fake SQS that remembers every message ever put on a queue, as (url, body, message id)."""

    puts: list[tuple[str, str, str]] = field(default_factory=list)

    def _put(self, url: str, body: str, options: dict[str, Any]) -> str:
        before = len(self.queues[url].messages)
        message_id = super()._put(url, body, options)
        if len(self.queues[url].messages) > before:
            self.puts.append((url, body, message_id))
        return message_id


class Fate:
    """The step that kills the process, before or after its effect. No later step has an effect."""

    step: str = ""
    after: bool = False
    dead: bool = False

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def guarded(*args: Any, **options: Any) -> Any:
            if self.dead or (self.step == name and not self.after):
                self.dead = True
                raise Killed
            answer = function(*args, **options)
            if self.step == name and self.after:
                self.dead = True
                raise Killed
            return answer

        return guarded


STEPS: list[tuple[Any, str]] = [
    (sqs, "send_batch"),
    (sqs, "delete_batch"),
    (sqs, "release_batch"),
    (sqs, "receive"),
    (snapshot, "keep"),
    (sending, "_intend"),
    (send_outcomes, "settle_sent"),
    (replay, "_delete_batch"),
    (replay, "record_deleted"),
]
some = st.integers(min_value=0, max_value=50)


class DeadLetters(RuleBasedStateMachine):
    fate: ClassVar[Fate]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.fake = Hostile(clock=self.clock, wall=self.clock.wall)
        for url in (QUEUE, DLQ, FIFO, FIFO_DLQ):
            self.fake.create(url)
        sqs.client_for = self.fake.client_for  # type: ignore[assignment]  # the test restores it
        self.account = Account(self.fake, self.clock)
        self.born: dict[str, str] = {}
        self.taken: set[str] = set()
        self.number = 0
        # Ignore the letters of earlier examples.
        self.first = set(DeadLetter.objects.values_list("pk", flat=True))

    @property
    def letters(self) -> Any:
        return DeadLetter.objects.exclude(pk__in=self.first)

    def pick(self, *states: str, number: int = 0) -> list[DeadLetter]:
        found = list(self.letters.filter(state__in=states).order_by("first_seen_at", "pk"))
        return found[number % len(found) :][: number + 3] if found else []

    # -- events outside the console

    @rule(count=st.sampled_from([1, 5, 12, 27]), fifo=st.booleans())
    def messages_die(self, count: int, fifo: bool) -> None:
        bodies = [f"order {self.number + number}" for number in range(count)]
        self.number += count
        ids = self.account.die(*bodies, fifo=fifo, group=f"customer-{self.number % 2}")
        self.born |= dict(zip(ids, bodies, strict=True))
        self.fake.puts = [put for put in self.fake.puts if put[2] not in ids]

    @rule()
    def a_job_fails_for_good(self) -> None:
        job = factories.job()
        self.fail(job)

    def fail(self, job: Job) -> None:
        worker = Worker("ada")
        claimed = lifecycle.claim(job.pk, None, worker)
        if isinstance(claimed, RunningJob):
            lifecycle.fail(Run(job.pk, claimed.epoch, worker), "it broke", retryable=False)

    @rule()
    def workers_take_what_waits(self) -> None:
        for url in (QUEUE, FIFO):
            self.fake.queues[url].messages.clear()
        for job in Job.objects.filter(status=Status.PENDING)[:2]:
            self.fail(job)

    @rule(most=st.sampled_from([1, 10, 25, 100]))
    def pages_are_of_another_size(self, most: int) -> None:
        scan.PAGE_MESSAGES = most

    @rule(minutes=st.sampled_from([1, 6]))
    def time_passes(self, minutes: int) -> None:
        self.clock.pass_by(timedelta(minutes=minutes))
        ReplayAttempt.objects.filter(state=ReplayAttempt.State.SENDING).update(
            sending_at=F("sending_at") - timedelta(minutes=minutes)
        )

    @rule(url=st.sampled_from([DLQ, FIFO_DLQ]))
    def somebody_holds_some(self, url: str) -> None:
        self.fake._take(url, self.fake.queues[url], 4, 45)

    @rule(
        fault=st.sampled_from(
            [
                "lost answer",
                "throttled",
                "unreachable",
                "failing",
                "partial",
                "duplicates",
                "short",
                "empty",
                "off",
            ]
        ),
        call=st.sampled_from(["send", "delete", "change", "receive", "get"]),
    )
    def sqs_is_hostile(self, fault: str, call: str) -> None:
        fake = self.fake
        match fault:
            case "lost answer":
                fake.drop_answers(1, call=call)
            case "throttled":
                fake.fail_next(1, fakes.throttled(), call=call)
            case "unreachable":
                fake.fail_next(1, fakes.unreachable(), call=call)
            case "failing":
                fake.fail_next(1, fakes.client_error("InternalError", 500), call=call)
            case "partial":
                fake.entry_fault = {"order 1": "unmentioned", "order 2": "missing", "order 3": "sender:X"}.get
                fake.handle_fault = lambda body: "InternalError" if body.endswith(("4", "7")) else None
            case "duplicates":
                fake.duplicates = 2
            case "short":
                fake.largest_read = 2
                fake.sample = lambda messages: messages[::-1]
                fake.miscount = lambda count: count + 1 if count else 0
            case "empty":
                fake.empty_reads = 2
            case _:
                fake.heal()
                fake.largest_read, fake.empty_reads, fake.duplicates = 10, 0, 0
                fake.entry_fault = fake.handle_fault = lambda body: None
                fake.miscount, fake.sample = (lambda count: count), (lambda messages: messages)

    # -- the console

    def alive(self, work: Callable[[], object]) -> None:
        """Run the work in a process that may be killed at the chosen step."""
        try:
            work()
        except Killed:
            # A killed process does not release its lease. Clearing it stands for its expiry.
            DeadLetterQueue.objects.update(scanning_until=None)
        finally:
            self.fate.step, self.fate.dead = "", False

    @rule(url=st.sampled_from([DLQ, FIFO_DLQ]))
    def check(self, url: str) -> None:
        self.alive(lambda: self.account.check(url))

    @rule()
    def work(self) -> None:
        self.alive(self.account.work)

    @rule(step=st.sampled_from([name for _, name in STEPS]), after=st.booleans())
    def the_cluster_dies_at_work(self, step: str, after: bool) -> None:
        self.fate.step, self.fate.after = step, after
        self.work()

    @rule()
    def dispatch(self) -> None:
        self.fake.heal()
        dispatcher.dispatch()

    @rule(number=some, who=st.sampled_from(PEOPLE))
    def replay(self, number: int, who: Actor) -> None:
        chosen = self.pick(State.IN_QUEUE, State.KEPT, State.GONE, number=number)
        self.decide(LetterAction.REPLAY, chosen, who)

    @rule(number=some)
    def two_operators_replay_the_same(self, number: int) -> None:
        chosen = self.pick(State.IN_QUEUE, State.KEPT, number=number)
        plans = [operations.plan(LetterAction.REPLAY, [each.pk for each in chosen]) for _ in PEOPLE]
        done = [
            [outcome.done for outcome in operations.carry_out(steps, who, "a test")]
            for steps, who in zip(plans, PEOPLE, strict=True)
        ]
        assert not any(first and second for first, second in zip(*done, strict=True))

    @rule(number=some, action=st.sampled_from([LetterAction.DISCARD, LetterAction.RESTORE]))
    def discard_or_restore(self, number: int, action: LetterAction) -> None:
        states = (State.IN_QUEUE, State.KEPT) if action is LetterAction.DISCARD else (State.DISCARDED,)
        self.decide(action, self.pick(*states, number=number), PEOPLE[0])

    @precondition(lambda self: self.letters.filter(state=State.OUTCOME_UNKNOWN).exists())
    @rule(number=some, sent=st.booleans())
    def somebody_finds_out(self, number: int, sent: bool) -> None:
        action = LetterAction.MARK_SENT if sent else LetterAction.MARK_NOT_SENT
        self.decide(action, self.pick(State.OUTCOME_UNKNOWN, number=number), PEOPLE[0])

    def decide(self, action: LetterAction, chosen: list[DeadLetter], who: Actor) -> None:
        steps = operations.plan(action, [each.pk for each in chosen])
        operations.carry_out(steps, who, "a test")

    # -- invariants

    @invariant()
    def no_message_is_lost(self) -> None:
        """Check that each message is in its dead letter queue, or stored completely by the console."""
        kept = dict(self.letters.values_list("message_id", "body"))
        for message_id, body in self.born.items():
            there = any(message_id in self.fake.queues[url].messages for url in (DLQ, FIFO_DLQ))
            assert there or kept.get(message_id) == body

    @invariant()
    def none_is_sent_twice_unless_the_ledger_says_so(self) -> None:
        puts = Counter(
            body for url, body, _ in self.fake.puts if url in {QUEUE, FIFO} and body.startswith("order")
        )
        for letter in self.letters.filter(body__startswith="order").prefetch_related("attempts"):
            rows = [row for row in letter.attempts.all() if row.action == LetterAction.REPLAY]
            intended = sum(row.sending_at is not None for row in rows)
            confirmed = sum(bool(row.new_message_id) for row in rows)
            assert confirmed <= puts[letter.body] <= intended

    @invariant()
    def each_message_that_the_ledger_names_was_sent_once(self) -> None:
        put = Counter(message_id for _, _, message_id in self.fake.puts)
        named = ReplayAttempt.objects.filter(letter__in=self.letters).exclude(new_message_id="")
        for message_id in named.values_list("new_message_id", flat=True):
            assert put[message_id] == 1

    @invariant()
    def nothing_is_deleted_that_nobody_decided_about(self) -> None:
        """Check that undecided letters still exist; no other consumer could have removed them."""
        for letter in self.letters.filter(state__in=[State.IN_QUEUE, State.GONE, State.OUTCOME_UNKNOWN]):
            rows = letter.attempts.filter(from_copy=True) if letter.state == State.OUTCOME_UNKNOWN else None
            assert letter.state != State.GONE
            assert (rows is not None and rows.exists()) or any(
                letter.message_id in self.fake.queues[url].messages for url in (DLQ, FIFO_DLQ)
            )

    @invariant()
    def a_letter_of_a_job_goes_only_after_its_new_message(self) -> None:
        requeues = ReplayAttempt.objects.filter(letter__in=self.letters, job_epoch__isnull=False)
        sent = Outbox.objects.filter(state=Outbox.State.SENT).values_list("job_id", "run_epoch")
        messages = set(sent)
        for row in requeues.select_related("letter"):
            there = row.letter.message_id in self.fake.queues[DLQ].messages
            assert there or (row.letter.job_id, row.job_epoch) in messages or row.from_copy

    @invariant()
    def one_thing_at_a_time_is_done_to_a_letter(self) -> None:
        unfinished = ReplayAttempt.objects.filter(state__in=ReplayAttempt.UNFINISHED).values_list("letter")
        assert len(unfinished) == len(set(unfinished))

    def teardown(self) -> None:
        """Check that every request is carried out once SQS has recovered and unknown outcomes are settled."""
        self.sqs_is_hostile("off", "")
        for _ in range(6):
            self.time_passes(6)
            self.dispatch()
            self.work()
            self.decide(LetterAction.MARK_NOT_SENT, self.pick(State.OUTCOME_UNKNOWN), PEOPLE[0])
        self.no_message_is_lost()
        self.none_is_sent_twice_unless_the_ledger_says_so()
        for letter in self.letters.filter(state__in=[State.REPLAYED, State.DISCARDED]):
            assert letter.message_id not in self.fake.queues[DLQ].messages


@pytest.mark.django_db
def test_any_order_of_events(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    settings.QUEUES = dict(accounts.QUEUES)
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    monkeypatch.setattr(scan, "PAGE_MESSAGES", scan.PAGE_MESSAGES)
    monkeypatch.setattr(sqs, "client_for", sqs.client_for)
    DeadLetters.fate = Fate()
    for module, name in STEPS:
        monkeypatch.setattr(module, name, DeadLetters.fate.around(name, getattr(module, name)))
    run_state_machine_as_test(DeadLetters, settings=PROFILE)


PROFILE = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    database=None,
    # Do not shrink failures: it takes minutes on a real database, and the full steps are readable.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
