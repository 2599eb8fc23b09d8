"""What roles and their fields are called on screen, and what each built-in role allows, in words.

Django calls roles groups and lets only "staff" into its admin. Here a group is a word of failures and of identity
providers, and nobody at night knows what staff status is.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group, User
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from opsconsole.kit.display import inline_markup
from opsconsole.sign_in import roles

MAY_LOG_IN = "May log in to the console"
WHY_MAY_LOG_IN = "Without it nobody can log in, whatever their roles are."
# docs/roles.md shows the same.
ALLOWS = {
    roles.VIEWER: "See every page except *Users*, *Roles*, *Failed logins*, *Sign-in identities*, *People in Slack*, *Attach*, *Data* "
    "and *Verification*. Change nothing.",
    roles.OPERATOR: "Everything a viewer can do, and what may be urgent at night, each with a reason (acknowledging and snoozing "
    "alerts may go without): requeue, cancel and release jobs; edit the payload of a job that does not run; enqueue a job; replay and "
    "discard dead letters; write notes about failures; acknowledge, snooze and resolve alerts; test a channel; pause and resume "
    "recovery, the dead letter checks and queues; run a schedule now; free a client that used up its rate limit.",
    roles.ADMINISTRATOR: "Everything an operator can do, and: arm recovery; pause and resume schedules; edit dead letters before "
    "replaying them; edit rules and policies; add, route, mute and remove alert channels; change the mode of the limiter; create and "
    "revoke API keys; forget monitors; unlock failed logins; link sign-in identities and people in Slack to accounts; verify the "
    "installation; add users and give them roles; see on the page *Attach* which tables of the database look like jobs, with a few of "
    "their rows.",
}


def use() -> None:
    """Give Django's models these names, also in the audit. Migrations compare what the models were declared with."""
    Group._meta.verbose_name, Group._meta.verbose_name_plural = "role", "roles"  # noqa: SLF001 - Django documents it
    User._meta.get_field("groups").verbose_name = "roles"  # noqa: SLF001 - likewise
    User._meta.get_field("is_staff").verbose_name = MAY_LOG_IN.lower()  # noqa: SLF001 - likewise


def allows(role: str) -> SafeString | None:
    """Return what a built-in role allows; None of one that a team made, whose permissions its page lists."""
    return inline_markup(ALLOWS[role]) if role in ALLOWS else None


def explained(offered: Iterable[str]) -> SafeString:
    """Return a list of what each of the offered roles allows, for below the boxes."""
    lines = [(role, words) for role in offered if (words := allows(role))]
    return format_html_join("\n", "<p><strong>{}</strong>: {}</p>", lines)
