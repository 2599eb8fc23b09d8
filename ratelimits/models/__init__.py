"""The tables of policies, API keys and limited requests."""

from ratelimits.models.api_key import ApiKey, Scope
from ratelimits.models.control import LimiterControl
from ratelimits.models.hour import RateLimitHour
from ratelimits.models.policy import Mode, Policy
from ratelimits.models.record import KEPT, RateLimitRequest
from ratelimits.models.trouble import LimiterTrouble

__all__ = [
    "KEPT",
    "ApiKey",
    "LimiterControl",
    "LimiterTrouble",
    "Mode",
    "Policy",
    "RateLimitHour",
    "RateLimitRequest",
    "Scope",
]
