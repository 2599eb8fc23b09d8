"""An SQS account for the tests of dead letters: a queue and its dead letter queue, standard and FIFO."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

from jobs.dead_letters import check, fulfilment, operations, origins
from jobs.dead_letters.check import CheckedQueue
from jobs.dead_letters.scan import Budget
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, Job
from jobs.operations.steps import Outcome
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from tests.fakes.sqs import FakeSqs, Message, arn_of

HOST = "https://sqs.eu-west-1.amazonaws.com/123456789012"
QUEUE, DLQ = f"{HOST}/jobs", f"{HOST}/jobs-dlq"
FIFO, FIFO_DLQ = f"{HOST}/orders.fifo", f"{HOST}/orders-dlq.fifo"
QUEUES = {
    "default": QueueConfig("default", QUEUE, DLQ),
    "orders": QueueConfig("orders", FIFO, FIFO_DLQ),
}
OLGA = Actor.operator("olga", None)
REASON = "the directory is back"
BUDGET = Budget(seconds=5, messages=1_000)


@dataclass
class Clock:
    """The account's clock: visibility timeouts and wall time advance together, and only through pass_by()."""

    now: float = 0.0
    began: float = field(default=1_800_000_000.0)

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.began + self.now

    def pass_by(self, time: timedelta) -> None:
        self.now += time.total_seconds()


@dataclass
class Account:
    fake: FakeSqs
    clock: Clock

    def die(self, *bodies: str, fifo: bool = False, group: str = "g", **options: Any) -> list[str]:
        """Put messages on the dead letter queue, as SQS does after too many receives, and return their IDs."""
        source, dlq = (FIFO, FIFO_DLQ) if fifo else (QUEUE, DLQ)
        ids = []
        for number, body in enumerate(bodies):
            if fifo:
                own = sha256(f"{group}-{body}-{number}".encode()).hexdigest()
                options = {"MessageGroupId": group, "MessageDeduplicationId": own}
            # Bypass the client: the fake's faults apply only to the console's calls.
            with self.fake._changed:
                sent = self.fake._put(source, body, options)
            message: Message = self.fake.queues[source].messages.pop(sent)
            message.source_arn, message.receive_count = arn_of(source).replace("us-east-1", "eu-west-1"), 3
            if fifo:
                message.dedup_id = message.id
            self.fake.queues[dlq].messages[sent] = message
            ids.append(sent)
        return ids

    def die_with(self, job: Job, **fields: Any) -> str:
        """Put a job's message on the dead letter queue and return its ID."""
        return self.die(json.dumps({"job_id": str(job.pk), "run_epoch": job.run_epoch} | fields))[0]

    def check(self, url: str = DLQ) -> CheckedQueue:
        [dlq] = [each for each in origins.configured() if each.url == url]
        return check.check_one(dlq, BUDGET)

    def work(self) -> fulfilment.FulfilmentTurn:
        return fulfilment.work(BUDGET)

    def waiting(self, fifo: bool = False) -> list[str]:
        """Return the bodies of the messages in the origin queue."""
        return self.fake.bodies(FIFO if fifo else QUEUE)

    def dead(self, fifo: bool = False) -> list[str]:
        return self.fake.bodies(FIFO_DLQ if fifo else DLQ)


def letter(message_id: str) -> DeadLetter:
    return DeadLetter.objects.get(message_id=message_id)


def letters(message_ids: list[str]) -> list[DeadLetter]:
    found = {each.message_id: each for each in DeadLetter.objects.filter(message_id__in=message_ids)}
    return [found[each] for each in message_ids]


def decide(action: LetterAction, *chosen: DeadLetter, actor: Actor = OLGA) -> list[Outcome]:
    steps = operations.plan(action, [each.pk for each in chosen])
    return operations.carry_out(steps, actor, REASON)


def replay(*chosen: DeadLetter) -> list[Outcome]:
    return decide(LetterAction.REPLAY, *chosen)


def steps_of(of: DeadLetter) -> list[tuple[str, str]]:
    """Return the action and state of each ledger row of the letter."""
    return list(of.attempts.values_list("action", "state"))


def state(of: DeadLetter) -> str:
    of.refresh_from_db()
    return of.state
