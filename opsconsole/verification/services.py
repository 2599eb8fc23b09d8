"""Checks of the rate limit store, the queues, the permissions on them, and the clocks of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import Error, connection

from jobs import checks as queue_checks
from opsconsole.kit import redis_url_check
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import first_line
from opsconsole.verification.check import Judgement, Problem, Wishes, of, skipped, unknown, wrong
from opsconsole.verification.configuration import doubts_in, problems_in
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from ratelimits import checks as limiter_checks
from ratelimits.engine import store
from ratelimits.engine.forgotten_counts import StoreAway
from ratelimits.engine.store_facts import StoreFacts

# A heartbeat's own time counts while its clock agrees within a minute, and a code of the second factor lasts for half of one.
MOST_APART = timedelta(seconds=20)
CLOCK = "Let chrony, or another client of NTP, set the clock of that host."
# What the console does with a queue of jobs, and with one of dead letters. Workers need the rest of the first.
ON_QUEUE = (sqs.Action.ATTRIBUTES, sqs.Action.SEND)
FOR_WORKERS = (sqs.Action.RECEIVE, sqs.Action.DELETE, sqs.Action.VISIBILITY)
ON_DLQ = (*ON_QUEUE, *FOR_WORKERS)


def store_keeps_counts(_: Wishes) -> Judgement:
    """Write to the store as the limiter does, and ask for its policy of eviction, its persistence and its password."""
    try:
        facts = store.facts()
    except StoreAway as error:
        return wrong(
            str(error),
            "Check OPSCONSOLE_RATE_LIMIT_STORE (or CACHE_URL), its password, and that it is no replica.",
        )
    if facts is None:
        return skipped("There is no shared store: one process counts.", "Set OPSCONSOLE_RATE_LIMIT_STORE.")
    production = settings.OPSCONSOLE_ENV == "production"
    secret = not redis_url_check.has_no_secret(str(settings.OPSCONSOLE_RATE_LIMIT_STORE))
    return judge_store(facts, production=production, secret=secret)


def judge_store(facts: StoreFacts, *, production: bool, secret: bool) -> Judgement:
    """Judge what a store says of itself. Pure. In development, no store keeps anything."""
    problems = problems_in(
        limiter_checks.judge_eviction("" if facts.eviction == "noeviction" else facts.eviction)
    )
    doubts = []
    if production and facts.keeps is False:
        problems.append(
            Problem(
                "The store keeps nothing over a restart: for a window, clients get their limits anew.",
                "Turn appendonly on (or save snapshots), or give it a replica.",
            )
        )
    if production and facts.keeps is None:
        doubts.append(
            Problem(
                "The store does not say whether it keeps counts over a restart.",
                "Ask who runs it for persistence.",
            )
        )
    if production and not secret:
        problems.append(
            Problem(
                "The store has no password: whoever reaches it can lift every rate limit.",
                "Give it a password (requirepass), and write redis://:PASSWORD@HOST:6379/0.",
            )
        )
    fine = "The store takes writes and evicts no counts. Production also needs persistence and a password."
    if production:
        fine = "The store takes writes, evicts no counts, keeps them over a restart, and asks for a password."
    return of(problems, doubts, fine=fine)


def queues_can_be_read(_: Wishes) -> Judgement:
    """Read each queue, and compare how long its dead letters are kept."""
    if not settings.QUEUES:
        return wrong("There is no queue.", "Set SQS_QUEUE_URL and SQS_DLQ_URL, or OPSCONSOLE_QUEUES.")
    problems = [
        Problem(
            f"Queue '{queue.name}' has no dead letter queue.",
            "Set SQS_DLQ_URL, or its DLQ in OPSCONSOLE_QUEUES.",
        )
        for queue in settings.QUEUES.values()
        if not queue.dlq_url
    ]
    for url in urls():
        try:
            sqs.depth(url)
        except sqs.QueueError as error:
            problems.append(
                Problem(str(error), "Check its URL, its region and the permissions of this process.")
            )
    if problems:
        return of(problems, fine="")
    messages = queue_checks.retention()
    return of(
        problems_in(messages),
        doubts_in(messages),
        fine=f"{exactly(len(settings.QUEUES), 'queue')} can be read, with the dead letters.",
    )


def urls() -> list[str]:
    """Return the addresses of all queues and of their dead letter queues."""
    queues: list[QueueConfig] = list(settings.QUEUES.values())
    return list(dict.fromkeys(url for queue in queues for url in (queue.url, queue.dlq_url) if url))


def permissions_suffice(_: Wishes) -> Judgement:
    """Try each action that the console needs on each queue, by requests that can have no effect."""
    if not settings.QUEUES:
        return unknown("There is no queue to try anything on.", "Set SQS_QUEUE_URL and SQS_DLQ_URL.")
    tried: list[Needed] = []
    doubts = []
    for url, actions in _wanted():
        try:
            tried += [Needed(url, sqs.try_action(url, action), needed) for action, needed in actions.items()]
        except sqs.QueueError as error:
            doubts.append(
                Problem(str(error), "Check its URL, its region and the credentials of this process.")
            )
    return judge_permissions(tried, doubts)


@dataclass(frozen=True)
class Needed:
    """What came of a try on a queue, and whether the console itself needs it."""

    url: str
    tried: sqs.Tried
    needed: bool


def judge_permissions(every: Sequence[Needed], doubts: Sequence[Problem]) -> Judgement:
    """Judge the answers; what only workers need is mentioned. Pure."""
    denied = [each for each in every if not each.tried.allowed]
    problems = [
        Problem(
            f"{each.tried.action} is denied on {each.url}: {each.tried.why}.",
            f"Allow {each.tried.action} on it (docs/verifying.md).",
        )
        for each in denied
        if each.needed
    ]
    spared = sorted({each.tried.action for each in denied if not each.needed})
    note = f" Only workers need more: {', '.join(spared)} is denied here." if spared else ""
    return of(
        problems, doubts, fine=f"{exactly(len(every), 'permission')} tried, and no message was touched.{note}"
    )


def _wanted() -> Iterator[tuple[str, dict[sqs.Action, bool]]]:
    """Yield the address of each queue, and for each action whether the console itself needs it there."""
    for queue in settings.QUEUES.values():
        yield queue.url, dict.fromkeys(ON_QUEUE, True) | dict.fromkeys(FOR_WORKERS, False)
        if queue.dlq_url:
            yield str(queue.dlq_url), dict.fromkeys(ON_DLQ, True)


def clocks_agree(_: Wishes) -> Judgement:
    """Compare the clocks of the database, the store and SQS with that of this host."""
    offsets: dict[str, timedelta] = {}
    doubts = []
    for name, read in CLOCKS.items():
        try:
            offset = _offset(read)
        except (sqs.QueueError, StoreAway, Error) as error:
            doubts.append(
                Problem(f"The clock of {name} could not be read: {first_line(error)}", "Mend that first.")
            )
            continue
        if offset is not None:
            offsets[name] = offset
    return judge_offsets(offsets, doubts)


def judge_offsets(offsets: dict[str, timedelta], doubts: list[Problem]) -> Judgement:
    """Judge how far the other clocks are ahead of this host's. Pure."""
    problems = [
        Problem(f"The clock of {name} is {spell(abs(offset))} {_direction(offset)} this host's.", CLOCK)
        for name, offset in offsets.items()
        if abs(offset) > MOST_APART
    ]
    agreeing = ", ".join(offsets)
    return of(
        problems, doubts, fine=f"The clocks of {agreeing} agree with this host's within {spell(MOST_APART)}."
    )


def _direction(offset: timedelta) -> str:
    return "ahead of" if offset > timedelta(0) else "behind"


def _offset(read: Callable[[], datetime | None]) -> timedelta | None:
    """Return how far a clock is ahead of this host's, compared with the middle of the question."""
    began = datetime.now(UTC)
    there = read()
    ended = datetime.now(UTC)
    return None if there is None else there - (began + (ended - began) / 2)


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def _store_time() -> datetime | None:
    facts = store.facts()
    return facts.time if facts else None


def _queue_time() -> datetime | None:
    first = next(iter(urls()), None)
    return sqs.time_of_service(first) if first else None


CLOCKS: dict[str, Callable[[], datetime | None]] = {
    "the database": _database_time,
    "the store": _store_time,
    "SQS": _queue_time,
}
