"""What becomes of a click: it counts as a decision of the person's account, with its permissions, and is audited as theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from alerts import operator_decisions
from alerts.models import Alert, SlackClick, SlackPerson
from alerts.models.alert import DatedAlert
from alerts.operator_decisions import PAST_TENSE, Decision
from alerts.slack_app.clicks import Click
from alerts.slack_app.signatures import LONGEST_AGE, Refused
from opsconsole.kit import audit
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.row_locks import locked, locked_if_free

# Twice as long as a time stamp is accepted: it may also be from the future.
SIGNATURES_KEPT = timedelta(seconds=3 * LONGEST_AGE)
# Whoever waits to be linked is noted, but no crowd of them: those go first whose last click is longest ago.
MOST_WAITING = 500
# A second click on the same button asks for nothing new.
SAME_END = timedelta(minutes=1)


@dataclass(frozen=True)
class Reply:
    """What Slack shows: to everybody in the channel, or only to the person who clicked."""

    text: str
    to_all: bool = False


@transaction.atomic
def answer(click: Click, signature: str) -> Reply:
    """Decide, once per signature, and return the reply. Raise ``Refused`` for a signature that had its effect."""
    _take(signature)
    person = _person(click)
    if person is None or person.user is None:
        return Reply(
            "Nothing was changed: the console does not know which account is yours. Ask an administrator to link "
            f"{click.member} to it on the page People in Slack, then press the button again."
        )
    user = person.user
    if not (user.is_active and user.is_staff and may_see(user, "alerts_alert")):
        return Reply(f"Nothing was changed: the account {user} may not see alerts.")
    if not user.has_perm(f"alerts.{click.decision}_alert"):
        return Reply(f"Nothing was changed: the account {user} may not {click.decision} alerts.")
    return _decide(click, person, user)


def _take(signature: str) -> None:
    SlackClick.objects.filter(at__lt=Now() - SIGNATURES_KEPT).delete()
    _, is_new = SlackClick.objects.get_or_create(pk=signature)
    if not is_new:
        raise Refused("It was answered before.", 409)


def _person(click: Click) -> SlackPerson | None:
    people = SlackPerson.objects.filter(team=click.team, member=click.member)
    if people.update(name=click.name, clicked_at=Now()):
        return people.select_related("user").first()
    waiting = SlackPerson.objects.filter(user=None)
    too_many = waiting.order_by("-clicked_at", "-pk").values("pk")[MOST_WAITING - 1 :]
    free = locked_if_free(waiting.filter(pk__in=too_many)).values_list("pk", flat=True)
    SlackPerson.objects.filter(pk__in=list(free)).delete()
    SlackPerson.objects.bulk_create(
        [SlackPerson(team=click.team, member=click.member, name=click.name)], ignore_conflicts=True
    )
    return None


def _decide(click: Click, person: SlackPerson, user: User) -> Reply:
    alert = locked(Alert.objects.filter(pk=click.alert)).annotate(db_now=Now()).first()
    if alert is None:
        return Reply("Nothing was changed: the console has no such alert any more.")
    if not alert.open:
        return Reply(f"Nothing was changed: “{alert.title}” has resolved in the meantime.")
    until = alert.db_now + click.length if click.length else None
    if before := _decided_before(alert, click.decision, until):
        return Reply(before)
    operator_decisions.carry_out(click.decision, alert.pk, user.get_username(), "", until)
    did = operator_decisions.did(click.decision, until)
    audit.log(user, [alert], did, why=audit.NOT_ASKED, result=f"Pressed in Slack by {person}.")
    end = f" until {until:%H:%M} UTC" if until else ""
    done = f"{PAST_TENSE[click.decision].capitalize()}{end} by {user.get_username()}: {alert.title}"
    return Reply(done, to_all=True)


def _decided_before(alert: DatedAlert, decision: Decision, until: datetime | None) -> str:
    """Say that the alert is already as the button would leave it; nothing where it is not."""
    if decision == Decision.ACKNOWLEDGE and alert.state == Alert.State.ACKNOWLEDGED:
        return f"{alert.handled_by} has acknowledged it already. Nothing was changed."
    if until and alert.snoozed_until and abs(alert.snoozed_until - until) < SAME_END:
        return f"{alert.handled_by} has snoozed it already. Nothing was changed."
    return ""
