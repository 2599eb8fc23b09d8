"""The endpoint for Amazon SNS. It needs no login, since each message proves its origin by a signature."""

from __future__ import annotations

import logging

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from alerts.aws import message_handler, sns

logger = logging.getLogger(__name__)

KIND_HEADER = "x-amz-sns-message-type"


@csrf_exempt
@never_cache
@require_POST
def from_sns(request: HttpRequest) -> HttpResponse:
    """Handle a message. The status is 200 if it took effect, 4xx if it never will, and 5xx if SNS should retry."""
    if not settings.OPSCONSOLE_SNS_TOPICS:
        raise Http404
    if _length(request) > sns.LARGEST_BODY:
        return _response(413)
    try:
        message = sns.read(request.body, request.headers.get(KIND_HEADER, ""))
        sns.verify(message)
        effect = message_handler.handle(message)
    except sns.Refused as refusal:
        logger.warning("A message to the SNS endpoint had no effect. %s", refusal)
        return _response(refusal.status)
    logger.info("Message from the SNS topic %s. %s", message.topic_name, effect)
    return _response(200)


def _length(request: HttpRequest) -> int:
    """Return the declared length, beyond which nothing is read."""
    declared = request.META.get("CONTENT_LENGTH") or "0"
    return int(declared) if declared.isdecimal() else sns.LARGEST_BODY + 1


def _response(status: int) -> HttpResponse:
    return HttpResponse("ok" if status == 200 else "refused", status=status, content_type="text/plain")
