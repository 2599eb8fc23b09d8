"""Letters as lists show them: each with the job that it names, and what became of its replay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_stubs_ext import WithAnnotations

from jobs.admin import labels
from jobs.dead_letters import replay_results
from jobs.dead_letters.replay_results import Followed
from jobs.models import DeadLetter, Job
from opsconsole.kit.db_clock import DbNow
from opsconsole.kit.display import NOTHING
from opsconsole.kit.page_permissions import Asker, may_see
from opsconsole.kit.short_ids import short_id


class ListedColumns(DbNow):
    """``known_job`` is the job that the letter names, or None when it names no known job.

    ``followed``: the result of its replay, if it was replayed.
    """

    known_job: Job | None
    followed: Followed | None


ListedLetter: TypeAlias = "WithAnnotations[DeadLetter, ListedColumns]"


def letters_of_group(group_id: int, state: str = "") -> str:
    """Return the address of the list of a failure group's letters: the open ones, or those of a choice of its filter."""
    chosen = f"&state={state}" if state else ""
    return reverse("admin:jobs_deadletter_changelist") + f"?group={group_id}{chosen}"


def complete(rows: Iterable[Any], user: Asker) -> list[ListedLetter]:
    """Return these letters with their jobs and the results of their replays, as far as this person may see them: a query each."""
    letters = list(rows)
    ids = {letter.job_id for letter in letters if letter.job_id}
    jobs = Job.objects.only("status", "not_before", "customer_id").in_bulk(ids) if ids else {}
    sees_jobs = may_see(user, "jobs_job")
    results = replay_results.of_letters(
        [letter.pk for letter in letters if letter.state == DeadLetter.State.REPLAYED]
    )
    for letter in letters:
        letter.known_job = jobs.get(letter.job_id)
        letter.followed = replay_results.as_far_as_seen(results.get(letter.pk), sees_jobs=sees_jobs)
    return letters


def of_job(letter: ListedLetter) -> SafeString:
    """Return the job that the letter names, with its status."""
    if letter.job_id is None:
        return NOTHING
    if letter.known_job is None:
        return format_html('<code>{}</code> <span class="quiet">unknown</span>', short_id(letter.job_id))
    return labels.job_link(letter.job_id) + labels.job_status(letter.known_job, letter.db_now)


def customer_of(letter: ListedLetter) -> SafeString | str:
    """Return the customer of the job that the letter names, linked to the page about them."""
    return labels.customer_link(letter.known_job) if letter.known_job else NOTHING
