"""Posts of incidents, and the meaning of the services' answers."""

from __future__ import annotations

import apprise

from alerts.channels import http_posts
from alerts.channels.http_posts import HttpAnswer, HttpPost
from alerts.channels.incidents.event import events
from alerts.channels.incidents.services import SERVICES
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.wording import AlertMessage

MALFORMED = {400, 413, 422}
# A later attempt may succeed.
TEMPORARY = {407, 408, 409, 425, 429}
UNKNOWN = {502, 504}


def post(url: str, message: AlertMessage) -> ChannelAnswer:
    """Post the events of a message. If one is not delivered, all are repeated, each with the same key."""
    channel = apprise.Apprise.instantiate(url)
    if channel is None:
        return ChannelAnswer(Outcome.BROKEN, "Apprise does not understand the channel's URL.")
    requests = SERVICES[url.partition(":")[0].lower()]
    answer = ChannelAnswer(Outcome.BROKEN, "The channel's URL names no receiver.")
    for event in events(message):
        for request in requests(channel, event):
            answer = _post(url, request)
            if answer.outcome != Outcome.DELIVERED:
                return answer
    return answer


def _post(url: str, request: HttpPost) -> ChannelAnswer:
    answer = http_posts.send(request)
    return meaning(answer, url) if isinstance(answer, HttpAnswer) else answer


def meaning(answer: HttpAnswer, url: str = "") -> ChannelAnswer:
    """Interpret an answer. A page of HTML comes from a proxy on the way, whose refusal may be temporary."""
    status, from_proxy = answer.status, answer.body.startswith("<")
    text = http_posts.without_secrets(answer.text, url)
    if 200 <= status < 300:
        return ChannelAnswer(Outcome.UNKNOWN if from_proxy else Outcome.DELIVERED, text)
    if status in MALFORMED and not from_proxy:
        return ChannelAnswer(Outcome.MALFORMED, text)
    if 400 <= status < 500 and status not in TEMPORARY and not from_proxy:
        return ChannelAnswer(Outcome.BROKEN, text)
    return ChannelAnswer(Outcome.UNKNOWN if status in UNKNOWN else Outcome.AGAIN, text, answer.retry_after)
