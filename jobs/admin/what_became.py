"""What became of rows after an action: whether it helped, in one sentence, and the result of each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models.options import Options
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from jobs.admin import labels
from jobs.bulk import job_actions, registry
from jobs.bulk.kinds import Kind, MemberResult
from jobs.dead_letters import editing
from jobs.letter_ledger.entries import LetterAction
from jobs.operations import payload_edits
from jobs.operations.steps import JobAction
from opsconsole.kit import addresses, audit
from opsconsole.kit.page_permissions import Asker, may_see

# Their ids are in an address, which servers accept up to a length.
MOST_FOLLOWED = 50
# In the address of a result, and the digits of what a bigint holds.
LINE_BEFORE, LONGEST_NUMBER = "line_before", 19
# The tones of results that are not the last word.
UNDER_WAY = frozenset({"running", "waiting"})
# Edits that send what they edited again, by the page of their lines in the audit and what these say.
_EDITS = {
    ("jobs_job", payload_edits.DID_AND_STARTED): JobAction.REQUEUE,
    ("jobs_deadletter", editing.DID): LetterAction.REPLAY,
}


@dataclass(frozen=True)
class FollowedRow:
    key: str
    about: str
    became: SafeString
    url: str


def may_follow(kind: Kind, user: Asker) -> bool:
    """Tell whether this person may see what became of such rows, which their jobs tell."""
    return kind.results is not None and may_see(user, kind.page) and may_see(user, "jobs_job")


def context(kind: Kind, keys: Sequence[str]) -> dict[str, Any]:
    """Return what the section shows. ``every``: the seconds until it asks again; nothing is left to ask when all ended."""
    keys = keys[:MOST_FOLLOWED]
    results = registry.results_of({kind.action: keys})[kind.action]
    about = kind.describe(list(results))
    counted = Counter(MemberResult(each.label, each.tone) for each in results.values())
    rows = [
        FollowedRow(
            key,
            about.get(key, ""),
            labels.result(results[key], kind.page),
            addresses.of_row(kind.page, key),
        )
        for key in keys
        if key in results
    ]
    totals = list(counted.items())
    return {"followed": rows, "helped": sentence(totals), "tone": tone(totals), "kind": kind}


def kind_of_line(page: str, did: str) -> Kind | None:
    """Return the kind whose action a line of the audit tells of, if it can be followed."""
    if action := _EDITS.get((page, did)):
        return registry.kind_of(action)
    followed = (kind for kind in registry.KINDS.values() if kind.results is not None and kind.page == page)
    return next((kind for kind in followed if did == kind.did), None)


def address(kind: Kind, keys: Sequence[str]) -> str:
    """Return where the section asks for its newest state."""
    query = urlencode([("id", key) for key in keys[:MOST_FOLLOWED]])
    return reverse(f"admin:{kind.page}_became", args=[kind.action]) + f"?{query}"


def result_address(request: HttpRequest, of: Options[Any], action: str, keys: Sequence[object]) -> str:
    """Return the address of the page that carries an action out, by which its result is found again if these rows are few."""
    page = reverse(f"admin:{of.app_label}_{of.model_name}_operate", args=[action])
    if line_before(request) is not None:
        return f"{page}?{request.GET.urlencode()}"
    if len(keys) > MOST_FOLLOWED:
        return page
    return f"{page}?{urlencode([(LINE_BEFORE, audit.newest()), *(('id', key) for key in keys)])}"


def line_before(request: HttpRequest) -> int | None:
    """Return the newest line of the audit before the action whose result this address names; None: it names none."""
    given = request.GET.get(LINE_BEFORE, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < LONGEST_NUMBER else None


def tone(totals: Sequence[tuple[MemberResult, int]]) -> str:
    """Return how the sentence is coloured: bad where at least half failed again, good once all have completed."""
    counts: Counter[str] = Counter()
    for result, number in totals:
        counts[result.tone] += number
    if bad := counts["bad"]:
        return "bad" if 2 * bad >= counts.total() else "warning"
    return "good" if counts["good"] and counts["good"] == counts.total() else "quiet"


def may_have_failed(totals: Sequence[tuple[MemberResult, int]]) -> bool:
    """Tell whether some of them did neither help nor are under way: who asks for their ids asks in vain otherwise."""
    return any(count and result.tone not in UNDER_WAY | {"good"} for result, count in totals)


def sentence(totals: Sequence[tuple[MemberResult, int]]) -> str:
    """Return whether it helped, as far as it is known; nothing where nothing was done."""
    count = sum(number for _, number in totals)
    by_tone: Counter[str] = Counter()
    for result, number in totals:
        by_tone[result.tone] += number
    good, bad, open_ = by_tone["good"], by_tone["bad"], sum(by_tone[tone] for tone in UNDER_WAY)
    if not count:
        return ""
    if open_:
        so_far = [f"{good:,} completed"] * bool(good) + [f"{bad:,} failed again"] * bool(bad)
        known = f" So far: {', '.join(so_far)}." if so_far else ""
        return f"Not known yet: {open_:,} of {count:,} still waiting or running.{known}"
    if good == count:
        return (
            "It helped: the job has completed." if count == 1 else f"It helped: all {count:,} have completed."
        )
    if bad == count:
        return (
            "It did not help: it failed again."
            if count == 1
            else f"It did not help: all {count:,} failed again."
        )
    rest = _other_results(totals)
    if rest == {job_actions.UNKNOWN.label: count}:
        return f"Not known: nothing tells what became of {'it' if count == 1 else f'these {count:,}'}."
    others = [f"{bad:,} failed again or could not be sent"] * bool(bad)
    others += [f"{number:,} {label.lower()}" for label, number in rest.items()]
    return f"It helped for {good:,} of {count:,}: {', '.join(others)}."


def _other_results(totals: Sequence[tuple[MemberResult, int]]) -> Counter[str]:
    """Count the results that are neither good nor bad nor under way by label, such as cancelled ones."""
    counts: Counter[str] = Counter()
    for result, number in totals:
        if number and result.tone not in {"good", "bad", *UNDER_WAY}:
            counts[result.label] += number
    return counts
