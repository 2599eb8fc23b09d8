from ratelimits.models.control import LimiterControl
from ratelimits.models.policy import Policy
from ratelimits.models.record import KEPT, RateLimitRequest

__all__ = ["KEPT", "LimiterControl", "Policy", "RateLimitRequest"]
