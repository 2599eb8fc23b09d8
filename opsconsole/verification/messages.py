"""Probes that send something: a letter through each dead letter queue, a test to each alert channel; and one 429."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress

from django.conf import settings

from alerts.channels import no_channel
from alerts.channels.targets import all_targets
from alerts.sending import channel_trial
from jobs.dead_letters import scan
from jobs.dead_letters.scan import Budget
from opsconsole.kit import pauses
from opsconsole.kit.counting import exactly
from opsconsole.verification.check import Judgement, Problem, Wishes, of, skipped, unknown, wrong
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from ratelimits.engine import store
from ratelimits.engine.decision import Decision
from ratelimits.engine.forgotten_counts import StoreAway
from ratelimits.policies.policy_snapshot import PolicySnapshot
from ratelimits.requests import responses

BUDGET = Budget(seconds=15, messages=2_000)
MARK = "opsconsole_verify"
# The name of a policy has no parentheses, so this one meets no client.
POLICY = PolicySnapshot(name="(verify)", limit=1, window=60)


def letters_come_back(wishes: Wishes) -> Judgement:
    """Send a marked letter to each dead letter queue, find it among the others, and delete it."""
    if not wishes.letter:
        return skipped(
            "Nobody asked for it.", "Run verify --probe-letter. It may raise an alert for a moment."
        )
    pause = pauses.active(pauses.DEAD_LETTER_CHECKS)
    if pause:
        return unknown(
            f"Checks of dead letters are paused by {pause.began_by}, so that nobody else reads the queues.",
            "Verify again when the pause is over.",
        )
    queues: list[QueueConfig] = [queue for queue in settings.QUEUES.values() if queue.dlq_url]
    if not queues:
        return unknown("There is no dead letter queue.", "Set SQS_DLQ_URL, or the DLQs in OPSCONSOLE_QUEUES.")
    problems = [problem for queue in queues if (problem := _letter_through(str(queue.dlq_url)))]
    return of(
        [],
        problems,
        fine=f"A letter came back from {exactly(len(queues), 'dead letter queue')}, and was deleted.",
    )


def _letter_through(url: str) -> Problem | None:
    body = json.dumps({MARK: secrets.token_hex(8)})
    sent = sqs.send_raw(url, body, {MARK: sqs.Attribute.text("a probe of verify; it may be deleted")})

    def delete_ours(page: Sequence[sqs.Received]) -> Collection[str]:
        return [each.message_id for each in page if each.message_id == sent and sqs.delete(each)]

    done = scan.scan(url, sqs.depth(url).total, delete_ours, BUDGET)
    if done.deleted:
        return None
    return Problem(
        f"The letter {sent} was sent to {url} and not found among {exactly(done.seen, 'letter')}.",
        f"Discard it on the page Dead letters (its body names {MARK}), and look for another reader of that queue.",
    )


def requests_are_refused(_: Wishes) -> Judgement:
    """Use up a limit of one request with a client that does not exist, and forget what was counted."""
    client = f"verify-{secrets.token_hex(8)}"
    first, second = store.check(POLICY, client), store.check(POLICY, client)
    # What this process counted alone ends with it.
    with suppress(StoreAway):
        store.free([POLICY], client)
    return judge_limit(first, second)


def judge_limit(first: Decision, second: Decision) -> Judgement:
    """Judge two requests under a limit of one. Pure."""
    if first.degraded or second.degraded:
        return wrong(
            "The limiter counts in this process alone, because the store does not answer.",
            "Mend what the check 'store' says.",
        )
    status = responses.refusal([second]).status_code
    if not first.allowed or second.allowed or status != 429:
        return wrong(
            f"Of two requests under a limit of one, the first was {_word(first)} and the second {_word(second)}.",
            "Check that nothing else writes to the store, and that it runs Lua scripts as Redis and Valkey do.",
        )
    return of(
        [],
        fine="Under a limit of one request, a second one is answered with 429. Nothing is left of the count.",
    )


def _word(decision: Decision) -> str:
    return "allowed" if decision.allowed else "refused"


def channels_deliver(wishes: Wishes) -> Judgement:
    """Send a test to each alert channel, and tell what each answered."""
    names = list(all_targets())
    if not names:
        return skipped(no_channel.SENTENCE, no_channel.ADVICE)
    if not wishes.channels:
        return skipped("No test was to be sent.", "Leave out --no-channels, or run send_test_alert.")
    tried = channel_trial.send_to(names, wishes.by)
    problems = [
        Problem(
            f"{each.channel} did not accept the test: {each.answer}",
            "See docs/runbooks/ and the page Channels.",
        )
        for each in tried
        if not each.delivered
    ]
    return of(problems, fine=f"{exactly(len(tried), 'channel')} accepted a test: {', '.join(names)}.")
