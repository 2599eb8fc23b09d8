"""Tests that the numbers which runbooks state are those of the code."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from alerts.catalog import RULES
from jobs.models.run_rollup import DAY, SHOWN_FOR
from jobs.watch import old_transactions, refused_claims
from opsconsole.cluster import configuration
from opsconsole.seals import strangers
from opsconsole_worker.sqs.wire_format import LONGEST_DELAY_SECONDS
from ratelimits.engine import breaker
from tests.repository import REPOSITORY

FOLDER = REPOSITORY / "docs" / "runbooks"
COUNTED = re.compile(r"[\d,]*\d (?:s|seconds|minutes|hours|days|runs|dead rows|requests|times)\b")
MINUTE = timedelta(minutes=1)


def threshold(rule: str) -> str:
    return f"{RULES[rule].threshold:g}"


def quiet(rule: str) -> str:
    return f"{RULES[rule].keep_firing_for // MINUTE} minutes"


# What each runbook says, by its name, as far as the console decides it.
STATED = [
    ("README", f"for more than {threshold('dlq_unreadable')} minutes"),
    ("README", f"more than {threshold('stale_jobs_day')} runs lost their worker within 24 hours"),
    ("README", f"refuses claims for {refused_claims.TOLD_AFTER // MINUTE} minutes"),
    ("README", f"has held back VACUUM for {threshold('old_transaction')} minutes"),
    ("README", f"more than {threshold('limited_requests_hour')} requests"),
    ("README", f"has been unknown for more than {threshold('gauge_unreadable')} minutes"),
    ("audit-broken", f"by more than {strangers.TOLERANCE // MINUTE} minutes"),
    ("cluster-stalled", f"{configuration.Q_CLUSTER['retry']} s"),
    ("dlq-unreadable", f"have succeeded for {quiet('dlq_unreadable')}"),
    ("gauge-unreadable", f"for more than {threshold('gauge_unreadable')} minutes"),
    ("gauge-unreadable", f"have succeeded for {quiet('gauge_unreadable')}"),
    ("limiter-degraded", f"every {breaker.SKIP_SECONDS:g} to {breaker.LONGEST_SKIP_SECONDS:g} seconds"),
    ("limiter-degraded", f"for {quiet('limiter_degraded')}"),
    ("monitor-late", f"the last {SHOWN_FOR[DAY].days} days"),
    ("no-live-worker", f"{quiet('no_live_worker')} after the first heartbeat"),
    ("old-transaction", f"for more than {old_transactions.LONG_AGO // MINUTE} minutes"),
    ("old-transaction", f"at least {old_transactions.HARMLESS_DEAD_ROWS:,} dead rows"),
    ("queue-unreadable", f"have succeeded for {quiet('queue_unreadable')}"),
    ("refused-claims", f"for {refused_claims.TOLD_AFTER // MINUTE} minutes or longer"),
    ("refused-claims", f"pauses of up to {LONGEST_DELAY_SECONDS // 60} minutes"),
]
# What others decide: SQS, and the names of the figures themselves.
OF_OTHERS = {
    ("README", "24 hours"),
    ("dead-letters-expiring", "14 days"),
    ("short-visibility", "100 runs"),
    ("stale-jobs-day", "24 hours"),
}


def page(name: str) -> str:
    return " ".join((FOLDER / f"{name}.md").read_text().split())


@pytest.mark.parametrize(("name", "words"), STATED)
def test_runbook_states_the_number_of_the_code(name: str, words: str) -> None:
    assert words in page(name)


def test_every_number_of_a_runbook_is_held_by_the_code() -> None:
    held = {(name, number) for name, words in STATED for number in COUNTED.findall(words)} | OF_OTHERS
    stated = {
        (path.stem, number) for path in FOLDER.glob("*.md") for number in COUNTED.findall(page(path.stem))
    }
    assert stated - held == set()
