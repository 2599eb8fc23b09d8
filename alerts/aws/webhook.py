"""The address that Amazon SNS calls. It needs no login: a message proves by its signature who wrote it."""

from __future__ import annotations

import logging

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from alerts.aws import received, sns

logger = logging.getLogger(__name__)

KIND_HEADER = "x-amz-sns-message-type"


@csrf_exempt
@never_cache
@require_POST
def from_sns(request: HttpRequest) -> HttpResponse:
    """200: it had its effect, now or before. 4xx: it will have none. 5xx: SNS is to try again."""
    if not settings.OPSCONSOLE_SNS_TOPICS:
        raise Http404
    if _length(request) > sns.LARGEST_BODY:
        return _answer(413)
    try:
        message = sns.read(request.body, request.headers.get(KIND_HEADER, ""))
        sns.verify(message)
        effect = received.take(message)
    except sns.Refused as refusal:
        logger.warning("A message to the address for SNS had no effect: %s", refusal)
        return _answer(refusal.status)
    logger.info("A message of SNS (%s): %s", message.topic_name, effect)
    return _answer(200)


def _length(request: HttpRequest) -> int:
    """As announced; no more than that is read."""
    announced = request.META.get("CONTENT_LENGTH") or "0"
    return int(announced) if announced.isdecimal() else sns.LARGEST_BODY + 1


def _answer(status: int) -> HttpResponse:
    return HttpResponse("ok" if status == 200 else "refused", status=status, content_type="text/plain")
