"""Replies to clicks, at the address that Slack names: it is only used where it is Slack's own."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from django.conf import settings

from alerts.channels import http_posts, slack, stored_addresses
from alerts.channels.http_posts import HttpAnswer, HttpPost
from alerts.slack_app.answers import Reply

logger = logging.getLogger(__name__)
# Slack waits three seconds for the answer to a click.
SECONDS = (1.0, 1.5)


def send(address: str, reply: Reply) -> None:
    """Post the reply. Nothing depends on it: what was decided is stored."""
    if not is_slack(address):
        logger.warning("A click in Slack names no address of Slack to reply to, so it gets no reply.")
        return
    answer = http_posts.send(HttpPost(address, slack.reply(reply.text, to_all=reply.to_all)), SECONDS)
    if not isinstance(answer, HttpAnswer) or answer.status != 200:
        logger.warning(
            "Slack did not take the reply to a click. %s", http_posts.without_secrets(answer.text, address)
        )


def is_slack(address: str) -> bool:
    """Tell whether an address is Slack's, or that of the stand-in on this machine that has the webhook, too."""
    if stored_addresses.is_of_slack(address):
        return True
    webhook, wanted = urlsplit(settings.SLACK_WEBHOOK_URL or ""), urlsplit(address)
    # Only outside production, the webhook may be plain HTTP on this machine.
    return webhook.scheme == "http" and (wanted.scheme, wanted.netloc) == ("http", webhook.netloc)
