"""The gauge of the alert rule ``local_log_ins``: log-ins with a password in the last hour, while single sign-on is set up."""

from __future__ import annotations

from collections import Counter

from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now

from alerts import notify
from alerts.trouble import Trouble
from opsconsole.kit import addresses, audit
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import HOUR
from opsconsole.sign_in.oidc import configuration

RULE = "local_log_ins"
MOST_NAMED = 5


def watch() -> str:
    """Measure the gauge. Return its value as text, for the task's record."""
    if not configuration.is_on():
        notify.resolve(RULE, news="Single sign-on is no longer set up, so passwords are the usual way in.")
        return "no single sign-on"
    rows = LogEntry.objects.filter(action_time__gt=Now() - HOUR, change_message=audit.LOGGED_IN_BESIDE)
    log_ins = list(rows.order_by().values_list("user__username", "action_time"))
    last = notify.last_told(RULE)
    by_name = Counter(name for name, _ in log_ins)
    untold = Counter(name for name, at in log_ins if last and at > last)
    count = by_name.total()
    notify.measure(
        RULE,
        count,
        Trouble(
            title=f"{exactly(count, 'login')} with a password in the last hour, beside single sign-on",
            summary="Somebody used a local password in place of the identity provider. Is it away, or was a password stolen?",
            link=addresses.of_list("admin_logentry"),
            facts=_named(by_name),
            news=" ".join(f"{name}: {times}." for name, times in _named(untold)),
            is_all_news=True,
            # Whoever acknowledged the alert has seen these names, and no others.
            breaks_through=any(untold[name] == times for name, times in by_name.items()),
        ),
    )
    return exactly(count, "local login")


def _named(by_name: Counter[str]) -> list[tuple[str, str]]:
    return [(name, exactly(times, "login")) for name, times in sorted(by_name.items())[:MOST_NAMED]]
