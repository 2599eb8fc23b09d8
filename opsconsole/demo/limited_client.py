"""Reports once that the demo's noisy client is limited, as the console's records show it."""

from __future__ import annotations

from urllib.parse import urlencode

from django.urls import reverse

from opsconsole.demo import noisy_client
from opsconsole.demo.output import say
from ratelimits.models import RateLimitRequest

KEY = f"address:{noisy_client.ADDRESS}"


class Limits:
    """Watches the records of the noisy client. ``address`` is the console's, for the link to the client's page."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.has_reported = False

    def turn(self) -> None:
        if self.has_reported or not RateLimitRequest.objects.limited().filter(key=KEY).exists():
            return
        self.has_reported = True
        page = f"{reverse('admin:ratelimits_ratelimithour_client')}?{urlencode({'key': KEY})}"
        say(
            "limits",
            f"the client at {noisy_client.ADDRESS} asks too often and is being refused with 429, others are not: "
            f"{self.address}{page}",
        )
