"""The middleware and its order, as the settings pass it on. Nothing of it depends on the environment.

Calls of programs have a shorter list. Whatever is left out there does nothing for a request below ``/api/`` without a cookie: it
serves files, knows sessions or guards forms.
"""

from __future__ import annotations

MIDDLEWARE = [
    # Around all others: it tells how long all of it took.
    "opsconsole.access_log.AccessLogMiddleware",
    # Around all others, some of which answer.
    "opsconsole.body_length.ResponseLengthMiddleware",
    # Before everything that asks whether the request is secure.
    "opsconsole.forwarded_scheme.ForwardedSchemeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    # Takes calls of programs out of this list: OF_CALLS stands for all that follows.
    "opsconsole.api.calls.CallsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "opsconsole.health.ProbeMiddleware",
    "opsconsole.kit.problems.ApiMiddleware",
    # Before everything that reads a body.
    "opsconsole.body_length.RequestLengthMiddleware",
    "opsconsole.unavailable.NotMigratedMiddleware",
    "opsconsole.kit.request_text.PlainAddressMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "opsconsole.kit.request_text.PlainFormMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "opsconsole.sign_in.proxy_header.ProxySignInMiddleware",
    "opsconsole.sign_in.sessions.IdleSessionMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "opsconsole.sign_in.lockouts.TooManyMiddleware",
    # After authentication, because it may count by user. A refused request does not reach what follows.
    "ratelimits.requests.middleware.RateLimitMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "opsconsole.sign_in.audited.RefusalMiddleware",
    "opsconsole.database_failures.DatabaseFailureMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # The last one, as django-axes requires: it turns a lock-out into its page.
    "axes.middleware.AxesMiddleware",
]

# What follows CallsMiddleware for a call of a program. The settings don't pass it on: ``opsconsole.api.calls`` reads it here.
OF_CALLS = [
    "opsconsole.kit.problems.ApiMiddleware",
    "opsconsole.body_length.RequestLengthMiddleware",
    "opsconsole.unavailable.NotMigratedMiddleware",
    "opsconsole.kit.request_text.PlainAddressMiddleware",
    # It checks the name of the host.
    "django.middleware.common.CommonMiddleware",
    "ratelimits.requests.middleware.RateLimitMiddleware",
    "opsconsole.sign_in.audited.RefusalMiddleware",
    "opsconsole.database_failures.DatabaseFailureMiddleware",
]

# What a check of the limiter passes in front of Django's handler, from the outside in: what looks at each call, what gives all answers
# the same headers, and what limits. What the others would ask of such a call, ``opsconsole.api.checks_first`` asks itself.
AROUND_CHECKS = [
    "opsconsole.access_log.AccessLogMiddleware",
    "opsconsole.forwarded_scheme.ForwardedSchemeMiddleware",
]
HEADERS_OF_CHECKS = [
    "opsconsole.body_length.ResponseLengthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "opsconsole.kit.problems.ApiMiddleware",
]
LIMITS_OF_CHECKS = ["ratelimits.requests.middleware.RateLimitMiddleware"]
