"""The console's settings with a short middleware stack; BENCH_LIMITER names the limiter to add."""

import os

from opsconsole.settings import *  # noqa: F403

LIMITER = os.environ["BENCH_LIMITER"]
ROOT_URLCONF = "bench.ratelimit_views"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [*INSTALLED_APPS, "django_smart_ratelimit"]  # noqa: F405
# The limiters that come with a middleware.
OWN_MIDDLEWARE = {
    "ours": ["ratelimits.requests.middleware.RateLimitMiddleware"],
    "stock": ["django_ratelimit.middleware.RatelimitMiddleware"],
}
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    *OWN_MIDDLEWARE.get(LIMITER, []),
]
if LIMITER == "stock":
    RATELIMIT_VIEW = "bench.ratelimit_views.refused"
# Connections stay open without health checks, which would cost the plain plan a query per request.
DATABASES["default"] |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False}  # noqa: F405
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHE_URL or ""}  # noqa: F405
}
RATELIMIT_BACKEND = "redis"
RATELIMIT_REDIS = {"url": CACHE_URL}  # noqa: F405
SILENCED_SYSTEM_CHECKS = [*SILENCED_SYSTEM_CHECKS, "django_ratelimit.W001"]  # noqa: F405
