"""Waiting jobs that a constraint or trigger of theirs does not let start: which rule refuses how many, told and alerted.

Some rules refuse a run for a while, such as one run at a time per customer. Only what stays refused is trouble.
"""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from alerts.notify import Trouble
from jobs.models import JobEvent
from jobs.models.columns import JOBS
from opsconsole.kit import job_ids, one_statement
from opsconsole.kit.counting import many
from opsconsole.kit.durations import DAY, spell
from opsconsole.kit.job_pages import job_links, job_page
from opsconsole.kit.one_statement import Reading
from opsconsole_worker.runs.lifecycle import LONGEST_REFUSED

# Refusals for a shorter time are those of rules that let a job wait for its turn.
TOLD_AFTER = timedelta(minutes=15)
MOST_RULES, MOST_JOBS = 10, 3
ADVICE = (
    "Change the rule so that it allows what a claim writes (status, worker_id, started_at and the console's own columns), or "
    f"cancel these jobs. A run that is refused for {spell(LONGEST_REFUSED)} becomes a dead letter."
)

_PRESENT = f"""
SELECT json_agg(json_build_array(rule, jobs, first) ORDER BY jobs DESC, rule) FROM (
SELECT rule, count(*) AS jobs, (array_agg(job_id::text ORDER BY first))[:%s] AS first
  FROM (SELECT job.id AS job_id, min(event.at) AS first, max(event.details ->> 'rule') AS rule
          FROM job_events AS event
          JOIN {JOBS.rows} AS job ON job.id = event.job_id AND job.run_epoch = event.run_epoch AND {JOBS.our_status("job")} = 'pending'
         WHERE event.kind = %s AND event.at >= statement_timestamp() - make_interval(secs => %s)
         GROUP BY job.id
        HAVING min(event.at) < statement_timestamp() - make_interval(secs => %s)) AS refused
 GROUP BY rule) AS by_rule
"""


@dataclass(frozen=True)
class RefusedClaims:
    """``rules``: how many jobs each rule keeps waiting. ``first``: the jobs that have been refused for longest."""

    rules: dict[str, int]
    first: tuple[UUID, ...] = ()

    @property
    def count(self) -> int:
        return sum(self.rules.values())

    @property
    def sentence(self) -> str:
        by = "; ".join(f"{rule} ({many(count, 'job')})" for rule, count in self._told_rules)
        return f"The database has refused to let {many(self.count, 'job')} start for {spell(TOLD_AFTER)} or longer: {by}."

    @property
    def words(self) -> Trouble:
        return Trouble(
            title=f"{many(self.count, 'job')} can't start: the database refuses the claim",
            summary=ADVICE,
            link=job_page(self.first[0]) if self.first else "",
            facts=[
                (
                    "Refused by",
                    "\n".join(f"{rule}: {many(count, 'job')}" for rule, count in self._told_rules),
                ),
                ("Refused for longest", "\n".join(map(str, self.first))),
            ]
            if self.rules
            else (),
            links=job_links(self.first),
        )

    @property
    def _told_rules(self) -> list[tuple[str, int]]:
        return list(self.rules.items())[:MOST_RULES]


def present() -> RefusedClaims:
    """Return the waiting jobs whose claims have been refused for long."""
    answer: RefusedClaims = one_statement.read(refused=reading())["refused"]
    return answer


def reading() -> Reading[RefusedClaims]:
    """Read the same together with other readings."""
    seconds = ((LONGEST_REFUSED + DAY).total_seconds(), TOLD_AFTER.total_seconds())
    return Reading(_PRESENT, (MOST_JOBS, JobEvent.Kind.CLAIM_REFUSED, *seconds), _of_rows)


def _of_rows(rows: Sequence[tuple[str, int, list[str]]] | None) -> RefusedClaims:
    first = (job_ids.parse(job_id) for _, _, of_rule in rows or () for job_id in of_rule)
    known = [job_id for job_id in first if job_id is not None]
    return RefusedClaims({rule: count for rule, count, _ in rows or ()}, tuple(known[:MOST_JOBS]))
