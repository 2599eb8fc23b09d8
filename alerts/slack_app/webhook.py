"""The endpoint for clicks in Slack. It needs no login, since each request proves its origin by a signature."""

from __future__ import annotations

import logging
import time

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from alerts.slack_app import answers, clicks, replies, signatures
from alerts.slack_app.signatures import Refused

logger = logging.getLogger(__name__)
# A click brings the message with it: 50 blocks of 3,000 characters, escaped for JSON and again for a form.
LARGEST_BODY = 1_048_576


@csrf_exempt
@never_cache
@require_POST
def from_slack(request: HttpRequest) -> HttpResponse:
    """Answer a click. The status is 200 if it was understood, whatever the reply says; 4xx if it has no effect."""
    secrets = settings.OPSCONSOLE_SLACK_SIGNING_SECRETS
    if not secrets:
        raise Http404
    if _length(request) > LARGEST_BODY:
        return _response(413)
    try:
        signature = signatures.verify(request.body, request.headers, secrets, time.time())
        click = clicks.read(request.body)
        reply = answers.answer(click, signature) if click else None
    except Refused as refusal:
        logger.warning("A request to the Slack endpoint had no effect. %s", refusal)
        return _response(refusal.status)
    if click and reply:
        replies.send(click.reply_to, reply)
    return _response(200)


def _length(request: HttpRequest) -> int:
    """Return the declared length, beyond which nothing is read."""
    declared = request.META.get("CONTENT_LENGTH") or "0"
    return int(declared) if declared.isdecimal() else LARGEST_BODY + 1


def _response(status: int) -> HttpResponse:
    # What is not empty, Slack shows in place of the message.
    return HttpResponse("" if status == 200 else "refused", status=status, content_type="text/plain")
