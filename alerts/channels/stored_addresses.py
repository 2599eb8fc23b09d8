"""Addresses that a page accepts for a channel: of services at addresses of their vendors."""

from __future__ import annotations

import re

from alerts.channels.targets import EMAIL_SCHEMES, INCIDENT_SCHEMES, SLACK

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
LONGEST = 2_000
_SLACK_URL = re.compile(r"https://hooks\.slack(?:-gov)?\.com/[\w/-]{1,200}", re.ASCII)
# Services at addresses of their vendors. With others, whoever adds a channel could reach servers that only this host reaches.
VENDORS = INCIDENT_SCHEMES - {"goalert", "goalerts", "jira", "opsimate", "opsimates"} | {
    "discord",
    "gchat",
    "mailgun",
    "msteams",
    "pover",
    "sendgrid",
    "sns",
    "tgram",
    "twilio",
    "webex",
    "workflows",
    "wxteams",
}


def is_of_slack(address: str) -> bool:
    """Tell whether Slack itself answers at this address."""
    return _SLACK_URL.fullmatch(address) is not None


def problem_with(name: str, address: str) -> str | None:
    """Return a sentence that says why a page does not accept this address, or None. The sentence has no part of it."""
    if len(address) > LONGEST or not address.isprintable() or " " in address:
        return f"An address has at most {LONGEST:,} characters, without blanks."
    if name == SLACK or is_of_slack(address):
        return _problem_with_slack(name, address)
    scheme = address.partition(":")[0].lower()
    if scheme not in VENDORS | (EMAIL_SCHEMES - {"mailto"}):
        allowed = ", ".join(sorted(VENDORS | {"mailtos"}))
        return (
            f"Here an address begins with one of: {allowed}. Others can be set by OPSCONSOLE_ALERT_CHANNELS."
        )
    # Loading Apprise's services takes a third of a second and 12 MB.
    from alerts.channels import apprise_urls  # noqa: PLC0415

    if not apprise_urls.understands(address):
        return "Apprise does not understand this address: look up its form at https://github.com/caronc/apprise/wiki."
    return None


def _problem_with_slack(name: str, address: str) -> str | None:
    if not is_of_slack(address):
        return "The channel slack needs an incoming webhook, such as https://hooks.slack.com/services/..."
    return None if name == SLACK else f"This is an incoming webhook of Slack: name its channel {SLACK}."
