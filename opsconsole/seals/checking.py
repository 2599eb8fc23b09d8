"""The continuous check: the newest seals each minute, all others in turn; what does not match raises an alert."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models.functions import Now

from alerts import notify
from alerts.trouble import Trouble
from opsconsole.kit import addresses, one_statement
from opsconsole.kit.audit_models import AuditSeal, SealCheck
from opsconsole.kit.counting import exactly
from opsconsole.kit.one_statement import Reading
from opsconsole.kit.row_locks import locked_if_free
from opsconsole.seals import chain, strangers, verification
from opsconsole.seals.report import Break, Report

ALERT = "audit_broken"
SEALS_PER_TURN = 50
ROWS_PER_TURN = 5_000
NEWEST_SEALS = 5
MOST_KEPT = 50
SENTENCES_TOLD = 5


def check_next() -> str:
    """Check the newest seals and the next part of the chain, and say what does not match."""
    SealCheck.objects.bulk_create([SealCheck(pk=1)], ignore_conflicts=True)
    with transaction.atomic():
        state = locked_if_free(SealCheck.objects.all()).first()
        if state is None:
            return "another process is checking"
        report = verification.verify_recent(NEWEST_SEALS, NEWEST_SEALS)
        last_read = _check_part(report, state.next_seal)
        _remember(state, report.breaks)
        newest = report.newest.number if report.newest else 0
        state.newest_seal = max(state.newest_seal, newest)
        if last_read >= newest:
            _end_round(state)
        else:
            state.next_seal = last_read + 1
        state.save()
        _tell(state)
    return f"{report.seals:,} seals and {report.rows:,} rows checked, {exactly(len(state.breaks), 'break')}"


def record(report: Report) -> None:
    """Keep what a complete verification found, and which events it left out; forget what it did not find any more."""
    SealCheck.objects.bulk_create([SealCheck(pk=1)], ignore_conflicts=True)
    with transaction.atomic():
        state = locked_if_free(SealCheck.objects.all()).first()
        if state is None:
            return
        state.newest_seal = max(state.newest_seal, report.newest.number if report.newest else 0)
        state.events_from = report.events_from or state.events_from
        _remember(state, report.breaks)
        _end_round(state)
        state.save()
        _tell(state)


def known_breaks() -> list[Break]:
    """Return what was found and not yet found mended."""
    return list(one_statement.read(breaks=breaks())["breaks"])


def breaks() -> Reading[list[Break]]:
    """Read the same."""
    kept = one_statement.records_of(SealCheck.objects.values_list("breaks"))
    return kept.then(
        lambda checks: [
            Break(each["kind"], each["seal"], each["sentence"]) for [found] in checks for each in found
        ]
    )


def _check_part(report: Report, first: int) -> int:
    """Check some seals from this one on; return the number of the last."""
    read, last = 0, first - 1
    spans: dict[str, tuple[int, int]] = {}
    for seal, before in chain.linked(first, first + SEALS_PER_TURN - 1):
        if read >= ROWS_PER_TURN:
            break
        verification.check_seal(report, seal, before)
        low, high = spans.get(seal.source, (seal.first_id, seal.last_id))
        spans[seal.source] = min(low, seal.first_id), max(high, seal.last_id)
        read += seal.row_count
        last = seal.number
    for source, (low, _) in spans.items():
        # Before the first seal of all, too.
        begin = None if first == 1 else low
        strangers.find_strangers(report, AuditSeal.Source(source), begin, windows=2)
    return last if last >= first else first + SEALS_PER_TURN - 1


def _remember(state: SealCheck, breaks: Iterable[Break]) -> None:
    kept = {each["sentence"]: each for each in state.breaks}
    for each in breaks:
        kept[each.sentence] = {**each._asdict(), "round": state.round}
    state.breaks = list(kept.values())[:MOST_KEPT]


def _end_round(state: SealCheck) -> None:
    """Forget what this round did not find again, and begin the next one."""
    state.breaks = [each for each in state.breaks if each["round"] == state.round]
    state.round += 1
    state.next_seal = 1
    state.round_ended_at = Now()


def _tell(state: SealCheck) -> None:
    if not state.breaks:
        notify.clear(ALERT)
        return
    new = [each["sentence"] for each in state.breaks]
    notify.fire(
        ALERT,
        Trouble(
            title="The audit, the timeline or a ledger was changed behind the console's back",
            severity="critical",
            summary=" ".join(new[:SENTENCES_TOLD]),
            value=len(new),
            link=addresses.of_list("admin_logentry"),
            facts=[("Breaks", f"{len(new):,}")],
        ),
    )
