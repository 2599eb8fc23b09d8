"""Refused log-ins, changes and API keys in the audit: counted per minute, person and client, and written down as sums."""

from __future__ import annotations

import logging

from django.contrib.auth.models import User
from django.db import Error, connection, transaction
from django.db.models.functions import Now, TruncMinute

from opsconsole.kit import audit
from opsconsole.kit.audit_models import Refusal
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import first_line
from opsconsole.kit.storable import plain_text

logger = logging.getLogger(__name__)

# Per kind and minute: beyond it, all others share one row.
MOST_ROWS = 50
LONGEST = 200

_COUNT = """
INSERT INTO audit_refusals (minute, kind, who, address, subject, times)
SELECT minute, %(kind)s,
       CASE WHEN few AND EXISTS (SELECT FROM auth_user WHERE username = %(who)s) THEN %(who)s ELSE '' END,
       CASE WHEN few THEN %(address)s ELSE '' END,
       CASE WHEN few THEN %(subject)s ELSE '' END, 1
  FROM (SELECT date_trunc('minute', now()) AS minute) AS clock,
       LATERAL (SELECT count(*) < %(most)s AS few FROM audit_refusals
                 WHERE audit_refusals.minute = clock.minute AND kind = %(kind)s) AS known
    ON CONFLICT (minute, kind, who, address, subject) DO UPDATE SET times = audit_refusals.times + 1
"""


def count(kind: Refusal.Kind, *, who: str = "", address: str = "", subject: str = "") -> None:
    """Count a refusal. ``who`` is kept only if it is the name of an account: what somebody typed may be a password.

    The refusal itself never fails, whatever the database says.
    """
    given = {
        "kind": str(kind),
        "who": plain_text(who)[:LONGEST],
        "address": address,
        "subject": plain_text(subject)[:LONGEST],
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, given | {"most": MOST_ROWS})
    except Error as error:
        logger.warning("A refusal was not counted for the audit: %s", first_line(error))


def write_down() -> int:
    """Write the sums of the minutes that are over to the audit; return the number of lines."""
    with transaction.atomic():
        over = Refusal.objects.filter(minute__lt=TruncMinute(Now())).order_by("pk")
        # Whoever deletes a row writes its line, so that two processes at once write it once.
        rows = [row for row in over if Refusal.objects.filter(pk=row.pk).delete()[0]]
        people = User.objects.in_bulk({row.who for row in rows if row.who}, field_name="username")
        for row in rows:
            _write(row, people.get(row.who))
    return len(rows)


def _write(row: Refusal, person: User | None) -> None:
    at = f"in the minute of {row.minute:%Y-%m-%d %H:%M} UTC"
    client = row.address or "unknown addresses"
    times = exactly(row.times, "time")
    if row.kind == Refusal.Kind.PERMISSION and person:
        did = f"Refused for want of permission: {row.subject}, {times} {at}."
        audit.log(person, [person], did, why=audit.NOT_ASKED, result=f"From {client}.")
        return
    if row.kind == Refusal.Kind.SCOPE:
        # Without a subject there were too many different ones.
        key, _, asked = row.subject.partition(" lacks ")
        did = f"Refused for want of the scope {asked}" if asked else "Refused for want of a scope"
        actor = f"the API key {key} at {client}" if asked else "API keys"
        audit.log_without_user(actor, f"{did}, {times} {at}.", why=audit.NOT_ASKED)
        return
    if row.kind == Refusal.Kind.SINGLE_SIGN_ON:
        who, _, reason = row.subject.rpartition(": ")
        did = f"Single sign-on refused{f' ({reason})' if reason else ''}, {times} {at}."
        rows = [person] if person else []
        audit.log_without_user(f"{who or 'somebody'} at {client}", did, why=audit.NOT_ASKED, rows=rows)
        return
    what = "Login refused" if row.kind == Refusal.Kind.LOG_IN else "Change refused"
    whose = "" if person else " as others"
    audit.log_without_user(
        f"somebody at {client}",
        f"{what}{whose}, {times} {at}.",
        why=audit.NOT_ASKED,
        rows=[person] if person else (),
    )
