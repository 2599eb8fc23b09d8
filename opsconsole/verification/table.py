"""The list of checks, in the order in which an installation comes to life. Commands and pages read this one."""

from __future__ import annotations

from datetime import timedelta

from opsconsole.verification import (
    configuration,
    database,
    job_probe,
    messages,
    running_work,
    services,
    single_sign_on,
)
from opsconsole.verification.check import Check

DATABASE_FIRST = "Mend what the check 'database' says, and verify again."
AGAIN = "Verify again; if it stays so, read the log of this process."
QUEUE_FIRST = "Check the URL of the queue, its region, the credentials, and that this host reaches it."

CHECKS: tuple[Check, ...] = (
    Check(
        name="settings",
        question="Are the settings fit for this environment?",
        judge=configuration.settings_fit,
        action=AGAIN,
    ),
    Check(
        name="database",
        question="Does the database answer, take changes and fit the console?",
        judge=database.database_fits,
        action="Check DATABASE_URL, and what locks the tables.",
    ),
    Check(
        name="migrations",
        question="Are all migrations applied?",
        judge=database.migrations_are_applied,
        action=DATABASE_FIRST,
    ),
    Check(
        name="sessions",
        question="Do the sessions of pages have the settings that the console needs?",
        judge=database.sessions_fit,
        action=DATABASE_FIRST,
    ),
    Check(
        name="grants",
        question="May the console's role do what it needs, and nobody what they should not?",
        judge=database.grants_fit,
        action=DATABASE_FIRST,
    ),
    Check(
        name="people",
        question="Are the roles complete, and can somebody log in as an administrator?",
        judge=database.people_can_work,
        action=DATABASE_FIRST,
    ),
    Check(
        name="single-sign-on",
        question="Can the identity provider be used, and do the roles exist that its groups give?",
        judge=single_sign_on.provider_can_be_used,
        action=DATABASE_FIRST,
    ),
    Check(
        name="web",
        question="Does the console answer at its public address?",
        judge=configuration.web_answers,
        action="Check OPSCONSOLE_PUBLIC_URL and the proxy in front of the console.",
    ),
    Check(
        name="proxies",
        question="Are proxies trusted rightly, and is the number of processes stated rightly?",
        judge=configuration.proxies_are_trusted,
        action=DATABASE_FIRST,
    ),
    Check(
        name="store",
        question="Does the rate limit store take writes and keep counts?",
        judge=services.store_keeps_counts,
        action="Check OPSCONSOLE_RATE_LIMIT_STORE (or CACHE_URL).",
    ),
    Check(
        name="queues",
        question="Can each queue be read, and are dead letters kept for long enough?",
        judge=services.queues_can_be_read,
        action=QUEUE_FIRST,
    ),
    Check(
        name="permissions",
        question="May this process do with each queue what the console needs?",
        judge=services.permissions_suffice,
        action=QUEUE_FIRST,
    ),
    Check(
        name="clocks",
        question="Do the clocks of the database, the store, SQS and this host agree?",
        judge=services.clocks_agree,
        action="Mend what the checks 'database', 'store' and 'queues' say, and verify again.",
    ),
    Check(
        name="schedules",
        question="Does the cluster run, and do its tasks succeed in time?",
        judge=running_work.schedules_run,
        action=DATABASE_FIRST,
    ),
    Check(
        name="outbox",
        question="Are messages sent in time?",
        judge=running_work.messages_are_sent,
        action=DATABASE_FIRST,
    ),
    Check(
        name="dead-rows",
        question="Can PostgreSQL remove dead rows from the tables of the queue?",
        judge=running_work.dead_rows_are_removed,
        action=DATABASE_FIRST,
    ),
    Check(
        name="seals",
        question="Are the audit and the ledgers as they were sealed?",
        judge=running_work.seals_hold,
        action=DATABASE_FIRST,
    ),
    Check(
        name="job",
        question="Can a job be enqueued, claimed and completed?",
        judge=job_probe.job_passes,
        action="Run inspect_database.",
    ),
    Check(
        name="job-through-sqs",
        question="Does a job pass through the outbox and SQS to a worker?",
        judge=job_probe.job_passes_through_sqs,
        action="Check the address in OPSCONSOLE_PROBE_QUEUE_URL, and the permissions on that queue.",
        limit=timedelta(seconds=40),
    ),
    Check(
        name="letter",
        question="Does a letter come back from each dead letter queue?",
        judge=messages.letters_come_back,
        action=QUEUE_FIRST,
        limit=timedelta(seconds=90),
    ),
    Check(
        name="limit",
        question="Is a request above a limit answered with 429?",
        judge=messages.requests_are_refused,
        action="Mend what the check 'store' says.",
    ),
    Check(
        name="channels",
        question="Does each alert channel accept a test?",
        judge=messages.channels_deliver,
        action=DATABASE_FIRST,
        limit=timedelta(seconds=60),
    ),
)


def names() -> list[str]:
    return [check.name for check in CHECKS]


def chosen(wanted: list[str]) -> list[Check]:
    """Return the checks with these names in their order; all of them where none is named."""
    return [check for check in CHECKS if not wanted or check.name in wanted]
