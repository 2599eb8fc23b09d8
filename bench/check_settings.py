"""The console's settings. With BENCH_VIEW=plain or asking, one plain view with the middleware that ``startproject`` chooses.

With BENCH_VIEW=behind or both, the plain view is behind the console's own middleware, as each view of an installation is.
"""

import os

from opsconsole.settings import *  # noqa: F403

ALLOWED_HOSTS = ["127.0.0.1"]
if os.environ["BENCH_VIEW"] != "console":
    ROOT_URLCONF = "bench.check_views"
if os.environ["BENCH_VIEW"] in {"plain", "asking"}:
    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
