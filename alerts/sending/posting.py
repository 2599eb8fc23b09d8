"""The post of one message to the adapter of its channel, and the time that the answer may take."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from alerts.channels import apprise_urls, email, slack
from alerts.channels.incidents import posting as incidents
from alerts.channels.outcome import ChannelAnswer, Outcome
from alerts.channels.targets import EMAIL_SCHEMES, SLACK, Target
from alerts.channels.wording import AlertMessage

ANSWER_SECONDS = 20.0


def post(target: Target, message: AlertMessage) -> ChannelAnswer:
    """Post the message by the adapter of this kind of channel."""
    if target.name == SLACK:
        return slack.post(target.address, message)
    if target.opens_incidents:
        return incidents.post(target.address, message)
    if target.kind in EMAIL_SCHEMES:
        return email.post(target.address, message)
    return apprise_urls.post(target.address, message)


def answer_in_time(call: Callable[[], ChannelAnswer], seconds: float = ANSWER_SECONDS) -> ChannelAnswer:
    """Return the answer, or an unknown outcome if it takes too long.

    A server that sends its response byte by byte can outlast any socket timeout. The abandoned thread ends by itself
    and, as a daemon, does not keep the process alive.
    """
    answers: queue.SimpleQueue[ChannelAnswer] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_guarded(call)), name="alert-post", daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return ChannelAnswer(Outcome.UNKNOWN, f"No answer within {seconds:g} s")


def _guarded(call: Callable[[], ChannelAnswer]) -> ChannelAnswer:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the code of a hundred vendors must not stop the other channels
        # The error's text may contain the address.
        return ChannelAnswer(Outcome.UNKNOWN, f"The adapter failed ({type(error).__name__})")
