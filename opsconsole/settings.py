"""All settings come from the environment; docs/settings.md explains each one.

Invalid values are refused here with a sentence. The system checks in ``opsconsole.checks`` refuse what is not fit for
production.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured

from opsconsole import content_security, logs, middleware, paths, script_name
from opsconsole.cluster import configuration
from opsconsole.kit import database_url, env, oidc_env
from opsconsole_worker.mapping import mapping_file, process_mapping

# Lets Django's generic classes name their types at run time, as in ``ModelAdmin[Job]``.
django_stubs_ext.monkeypatch()

BASE_DIR = paths.BASE_DIR
DEVELOPMENT_SECRET_KEY = "for-development-only--production-refuses-it"  # noqa: S105 - no secret

# --- where and how it runs ---

_database_url = env.database("DATABASE_URL", "postgres://user:password@host:5432/name")
# Only migrate uses it: the owner of the tables, on a direct connection.
OPSCONSOLE_OWNER_DATABASE_URL = env.database(
    "OPSCONSOLE_OWNER_DATABASE_URL", "postgres://owner:password@host:5432/name"
)
CACHE_URL = env.redis_url("CACHE_URL")
OPSCONSOLE_ENV = env.choice(
    "OPSCONSOLE_ENV", "production" if _database_url else "development", ("development", "production")
)
OPSCONSOLE_VAR_DIR = Path(env.text("OPSCONSOLE_VAR_DIR", str(paths.default_var_dir()))).resolve()
OPSCONSOLE_ALIVE_FILE = env.text("OPSCONSOLE_ALIVE_FILE")
_production = OPSCONSOLE_ENV == "production"

DEBUG = env.boolean("OPSCONSOLE_DEBUG", default=False)
SECRET_KEY = env.secret("OPSCONSOLE_SECRET_KEY", DEVELOPMENT_SECRET_KEY)
ALLOWED_HOSTS = env.hosts(
    "OPSCONSOLE_ALLOWED_HOSTS", () if _production else ("localhost", "127.0.0.1", "[::1]")
)
CSRF_TRUSTED_ORIGINS = env.origins("OPSCONSOLE_CSRF_TRUSTED_ORIGINS")

if not _production and not (_database_url and CACHE_URL):
    try:
        from opsconsole import embedded
    except ImportError as error:
        raise ImproperlyConfigured(
            "DATABASE_URL and CACHE_URL are not both set, and the embedded services that would stand in are "
            "not installed. Set both, or install opsconsole[embedded] (in a checkout: requirements-dev.txt)."
        ) from error
    _database_url = _database_url or embedded.start_postgres(OPSCONSOLE_VAR_DIR / "postgres").url
    CACHE_URL = CACHE_URL or embedded.start_valkey(OPSCONSOLE_VAR_DIR / "valkey").url

# --- database and cache ---

# Production does not start without a database (check E003), so this URL is never opened.
DATABASES = {"default": database_url.to_database(_database_url or "postgres://none.invalid/none")}
# Of the console's own tables. Contract tables are found in whichever schema they are.
OPSCONSOLE_SCHEMA = env.schema("OPSCONSOLE_SCHEMA", "opsconsole")
OPSCONSOLE_PAGE_TIMEOUT_SECONDS = env.integer("OPSCONSOLE_PAGE_TIMEOUT_SECONDS", 15, at_least=0, at_most=300)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "opsconsole.kit.json_cache.JSONCache",
        "LOCATION": CACHE_URL or "redis://none.invalid",
        "KEY_PREFIX": "opsconsole",
        "OPTIONS": {"socket_timeout": 2},
    }
}

# --- queues and alerts ---

QUEUES = env.queues("SQS_QUEUE_URL", "SQS_DLQ_URL", "OPSCONSOLE_QUEUES")
# A queue that no worker reads, for the probe job of verify.
OPSCONSOLE_PROBE_QUEUE_URL = env.url(
    "OPSCONSOLE_PROBE_QUEUE_URL", ("http", "https"), "https://sqs.us-east-1.amazonaws.com/123456789012/probe"
)
AWS_ENDPOINT_URL = env.url("AWS_ENDPOINT_URL", ("http", "https"), "http://127.0.0.1:5000")
AWS_DEFAULT_REGION = env.region("AWS_DEFAULT_REGION", "us-east-1")
SLACK_WEBHOOK_URL = env.webhook(
    "SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/...", loopback=not _production
)
OPSCONSOLE_ALERT_CHANNELS = env.addresses("OPSCONSOLE_ALERT_CHANNELS")
# Open the addresses of channels that were added on a page; the first one also encrypts them.
OPSCONSOLE_CHANNEL_KEYS = env.secrets("OPSCONSOLE_CHANNEL_KEYS")
OPSCONSOLE_ALERT_FALLBACK = env.text("OPSCONSOLE_ALERT_FALLBACK")
OPSCONSOLE_PUBLIC_URL = env.url("OPSCONSOLE_PUBLIC_URL", ("http", "https"), "https://ops.example.com")
# Slack signs the clicks on an app's buttons with it. Two during a change: each of them verifies.
OPSCONSOLE_SLACK_SIGNING_SECRETS = env.secrets("OPSCONSOLE_SLACK_SIGNING_SECRETS")
OPSCONSOLE_SNS_TOPICS = env.topics("OPSCONSOLE_SNS_TOPICS")
OPSCONSOLE_SNS_SIGNATURE_VERSION_1 = env.boolean("OPSCONSOLE_SNS_SIGNATURE_VERSION_1", default=False)
OPSCONSOLE_DEADMAN_SWEEP_URL = env.url(
    "OPSCONSOLE_DEADMAN_SWEEP_URL", ("http", "https"), "https://hc-ping.com/...", is_secret=True
)
OPSCONSOLE_DEADMAN_CHECK_URL = env.url(
    "OPSCONSOLE_DEADMAN_CHECK_URL", ("http", "https"), "https://hc-ping.com/...", is_secret=True
)
OPSCONSOLE_DEADMAN_SEAL = env.choice("OPSCONSOLE_DEADMAN_SEAL", "off", ("off", "body", "query"))

# --- recovery ---

OPSCONSOLE_STALE_AFTER_SECONDS = env.seconds("OPSCONSOLE_STALE_AFTER_SECONDS", 600)
OPSCONSOLE_SWEEP_INTERVAL_SECONDS = env.seconds("OPSCONSOLE_SWEEP_INTERVAL_SECONDS", 120, at_least=5)
OPSCONSOLE_SWEEP_PAGE_SIZE = env.integer("OPSCONSOLE_SWEEP_PAGE_SIZE", 500, at_most=10_000)
OPSCONSOLE_SWEEP_LIMIT = env.integer("OPSCONSOLE_SWEEP_LIMIT", 5_000)
OPSCONSOLE_RECOVERY_BY_HAND = env.queue_names("OPSCONSOLE_RECOVERY_BY_HAND", QUEUES)
OPSCONSOLE_MAX_RECOVERIES = env.integer("OPSCONSOLE_MAX_RECOVERIES", 3, at_most=1_000)
OPSCONSOLE_RECOVERY_WINDOW_HOURS = env.integer("OPSCONSOLE_RECOVERY_WINDOW_HOURS", 72, at_most=8_760)
OPSCONSOLE_MASS_STALE_RUNS = env.integer("OPSCONSOLE_MASS_STALE_RUNS", 20)
OPSCONSOLE_MASS_STALE_SHARE = env.share("OPSCONSOLE_MASS_STALE_SHARE", 0.5)
OPSCONSOLE_LOST_AFTER_SECONDS = env.seconds("OPSCONSOLE_LOST_AFTER_SECONDS", 1_800)
OPSCONSOLE_LOST_RESEND = env.choice("OPSCONSOLE_LOST_RESEND", "auto", ("auto", "on", "off"))
OPSCONSOLE_CLUSTER_STALL_SECONDS = env.seconds("OPSCONSOLE_CLUSTER_STALL_SECONDS", 180)

# --- runs ---

OPSCONSOLE_MAX_ATTEMPTS = env.integer("OPSCONSOLE_MAX_ATTEMPTS", 3, at_most=1_000)
OPSCONSOLE_RETRY_BACKOFF_SECONDS = env.seconds("OPSCONSOLE_RETRY_BACKOFF_SECONDS", 30)
OPSCONSOLE_RUN_DEADLINE_SECONDS = env.seconds("OPSCONSOLE_RUN_DEADLINE_SECONDS", 3_600)
OPSCONSOLE_BEAT_INTERVAL_SECONDS = env.seconds("OPSCONSOLE_BEAT_INTERVAL_SECONDS", 15)
OPSCONSOLE_POOLER_KEEPS_PLANS = env.boolean("OPSCONSOLE_POOLER_KEEPS_PLANS", default=False)
OPSCONSOLE_BODY_LIMIT_BYTES = env.integer("OPSCONSOLE_BODY_LIMIT_BYTES", 1_048_576, at_most=1_048_576)
# How the contract tables are shaped in this database: an object, which ``opsconsole.kit.mapping`` returns.
try:
    OPSCONSOLE_MAPPING = mapping_file.of_environment(env.environment)
except mapping_file.MappingError as error:
    raise ImproperlyConfigured(*error.args) from error
process_mapping.use(OPSCONSOLE_MAPPING)
# Let migrate create a table of jobs although other programs have tables here.
OPSCONSOLE_CREATE_JOBS = env.boolean("OPSCONSOLE_CREATE_JOBS", default=False)

# --- dead letters ---

OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS = env.seconds("OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS", 300, at_least=5)
OPSCONSOLE_EDIT_DEAD_LETTERS = env.boolean("OPSCONSOLE_EDIT_DEAD_LETTERS", default=False)
OPSCONSOLE_JOB_ID_PATHS = env.job_id_paths("OPSCONSOLE_JOB_ID_PATHS")
OPSCONSOLE_REDACT_PATHS = env.json_paths("OPSCONSOLE_REDACT_PATHS")

# --- retention (docs/retention.md) ---

OPSCONSOLE_KEEP_SWEEPS_DAYS = env.integer("OPSCONSOLE_KEEP_SWEEPS_DAYS", 30, at_least=2, at_most=3_650)
OPSCONSOLE_KEEP_MESSAGES_DAYS = env.integer("OPSCONSOLE_KEEP_MESSAGES_DAYS", 7, at_most=3_650)
# SQS keeps a message for at most 14 days.
OPSCONSOLE_KEEP_LETTERS_DAYS = env.integer("OPSCONSOLE_KEEP_LETTERS_DAYS", 90, at_least=15, at_most=3_650)
OPSCONSOLE_KEEP_ALERTS_DAYS = env.integer("OPSCONSOLE_KEEP_ALERTS_DAYS", 180, at_least=7, at_most=3_650)
OPSCONSOLE_KEEP_FIGURES_DAYS = env.integer("OPSCONSOLE_KEEP_FIGURES_DAYS", 90, at_least=7, at_most=90)
OPSCONSOLE_KEEP_PROGRESS_DAYS = env.integer("OPSCONSOLE_KEEP_PROGRESS_DAYS", 90, at_least=7, at_most=3_650)
OPSCONSOLE_KEEP_MEMBERS_DAYS = env.integer("OPSCONSOLE_KEEP_MEMBERS_DAYS", 90, at_least=7, at_most=3_650)
OPSCONSOLE_KEEP_ANSWERS_DAYS = env.integer("OPSCONSOLE_KEEP_ANSWERS_DAYS", 1, at_most=30)
OPSCONSOLE_KEEP_EVENTS_DAYS = env.integer("OPSCONSOLE_KEEP_EVENTS_DAYS", 396, at_least=32, at_most=36_500)
OPSCONSOLE_KEEP_AUDIT_DAYS = env.integer("OPSCONSOLE_KEEP_AUDIT_DAYS", 3_650, at_least=365, at_most=36_500)
OPSCONSOLE_ARCHIVE = env.archive("OPSCONSOLE_ARCHIVE")

# --- bulk operations ---

OPSCONSOLE_BULK_AT_ONCE = env.integer("OPSCONSOLE_BULK_AT_ONCE", 100, at_least=0, at_most=500)
OPSCONSOLE_BULK_MOST = env.integer("OPSCONSOLE_BULK_MOST", 100_000, at_most=1_000_000)
OPSCONSOLE_BULK_PACE = env.integer("OPSCONSOLE_BULK_PACE", 100, at_most=10_000)
OPSCONSOLE_BULK_TRIAL_SIZE = env.integer("OPSCONSOLE_BULK_TRIAL_SIZE", 10, at_least=0, at_most=1_000)
OPSCONSOLE_BULK_TRIAL_SECONDS = env.seconds("OPSCONSOLE_BULK_TRIAL_SECONDS", 60)

# --- rate limits ---

# None: each process counts for itself.
OPSCONSOLE_RATE_LIMIT_STORE = env.store("OPSCONSOLE_RATE_LIMIT_STORE", CACHE_URL)
OPSCONSOLE_WEB_PROCESSES = env.integer("OPSCONSOLE_WEB_PROCESSES", env.web_concurrency(), at_most=10_000)
# From trusted proxies only: opsconsole.forwarded_scheme removes the header of all other peers.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
OPSCONSOLE_TRUSTED_PROXIES = env.networks("OPSCONSOLE_TRUSTED_PROXIES")
OPSCONSOLE_FORWARDED_HEADER = env.choice(
    "OPSCONSOLE_FORWARDED_HEADER", "x-forwarded-for", ("x-forwarded-for", "forwarded", "x-real-ip")
)
RATELIMIT_VIEW = "ratelimits.requests.responses.limited"
# As it is without this. It is read with each limited view, and one that is missing takes longer to find.
RATELIMIT_ENABLE = True

# --- the API ---

OPSCONSOLE_API_KEY_PEPPERS = env.secrets("OPSCONSOLE_API_KEY_PEPPERS")

# --- schedules (django-q2) ---

Q_CLUSTER = configuration.Q_CLUSTER

# --- the Django project ---

INSTALLED_APPS = [
    # Before the admin, because its templates and static files replace the admin's.
    "opsconsole.apps.OpsConsoleConfig",
    "jobs.apps.JobsConfig",
    "alerts.apps.AlertsConfig",
    "ratelimits.apps.RateLimitsConfig",
    "django_q",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "axes",
    "csp",
    "opsconsole.apps.ConsoleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    # runserver serves static files as production does.
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
MIDDLEWARE = middleware.MIDDLEWARE
ROOT_URLCONF = "opsconsole.urls"
WSGI_APPLICATION = "opsconsole.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
# Where the address in ``next`` is empty or leads elsewhere.
LOGIN_REDIRECT_URL = "admin:index"

# --- log-in ---

AUTHENTICATION_BACKENDS = [
    # The first one: no password is checked during a lock-out.
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
    # Asked only by opsconsole.sign_in.proxy_header: it takes no password.
    "opsconsole.sign_in.proxy_header.ProxyUserBackend",
    # Likewise, by opsconsole.sign_in.oidc.
    "opsconsole.sign_in.oidc.backend.OidcBackend",
]
OPSCONSOLE_SIGN_IN_HEADER = env.header("OPSCONSOLE_SIGN_IN_HEADER")
OPSCONSOLE_OIDC_ISSUER = oidc_env.issuer("OPSCONSOLE_OIDC_ISSUER", loopback=not _production)
OPSCONSOLE_OIDC_CLIENT_ID = env.text("OPSCONSOLE_OIDC_CLIENT_ID")
OPSCONSOLE_OIDC_CLIENT_SECRET = env.secret("OPSCONSOLE_OIDC_CLIENT_SECRET")
OPSCONSOLE_OIDC_NAME = env.text("OPSCONSOLE_OIDC_NAME", "single sign-on")
OPSCONSOLE_OIDC_SCOPES = env.words("OPSCONSOLE_OIDC_SCOPES", ("openid", "profile", "email"))
OPSCONSOLE_OIDC_USERNAME_CLAIM = env.text("OPSCONSOLE_OIDC_USERNAME_CLAIM", "preferred_username")
OPSCONSOLE_OIDC_GROUPS_CLAIM = env.text("OPSCONSOLE_OIDC_GROUPS_CLAIM", "groups")
OPSCONSOLE_OIDC_ROLES = oidc_env.lists("OPSCONSOLE_OIDC_ROLES", '{"console-operators": "Operator"}')
OPSCONSOLE_OIDC_SECOND_FACTOR = oidc_env.lists("OPSCONSOLE_OIDC_SECOND_FACTOR", '{"amr": ["mfa", "otp"]}')
AXES_FAILURE_LIMIT = env.integer("OPSCONSOLE_LOGIN_FAILURES", 5, at_most=100)
AXES_COOLOFF_TIME = timedelta(seconds=env.seconds("OPSCONSOLE_LOCKOUT_SECONDS", 900))
# Further tries don't extend a lock-out, so that the page's promise stays true.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_HANDLER = "opsconsole.sign_in.log_in_guard.LogInGuard"
AXES_CLIENT_IP_CALLABLE = "opsconsole.sign_in.failures.address"
AXES_LOCKOUT_CALLABLE = "opsconsole.sign_in.lockouts.page"
# Its own pages allow changes and deletion; ours are in opsconsole.sign_in.lockouts.
AXES_ENABLE_ADMIN = False
# Django stores each user's last login; a log of all of them would only grow.
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "opsconsole.formats"

# The path under which the console is mounted, also where no request tells it.
FORCE_SCRIPT_NAME = script_name.own() or None
STATIC_URL = f"{script_name.own()}/static/"
# Development serves files from their sources; production serves those collected by collectstatic.
STATIC_ROOT = OPSCONSOLE_VAR_DIR / "static" if _production else None
WHITENOISE_USE_FINDERS = not _production
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _production
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- security ---

CONTENT_SECURITY_POLICY = content_security.CONTENT_SECURITY_POLICY
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
OPSCONSOLE_SECOND_FACTOR = env.choice("OPSCONSOLE_SECOND_FACTOR", "optional", ("off", "optional", "required"))
OTP_TOTP_ISSUER = "Ops console"
# opsconsole.sign_in.failures counts wrong codes. A limit per device would let others lock out its owner.
OTP_TOTP_THROTTLE_FACTOR = OTP_STATIC_THROTTLE_FACTOR = 0
OPSCONSOLE_IDLE_SECONDS = env.seconds("OPSCONSOLE_IDLE_SECONDS", 3_600)
SESSION_ENGINE = "opsconsole.sign_in.session_store"
OPSCONSOLE_SESSION_SECONDS = env.seconds("OPSCONSOLE_SESSION_SECONDS", 12 * 3_600, at_least=60)
SESSION_COOKIE_AGE = OPSCONSOLE_SESSION_SECONDS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _production
# Browsers accept a cookie with this prefix only over HTTPS, from this host alone and for all its paths.
OPSCONSOLE_COOKIE_PREFIX = "__Host-" if _production else ""
SESSION_COOKIE_NAME = f"{OPSCONSOLE_COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{OPSCONSOLE_COOKIE_PREFIX}csrftoken"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "opsconsole.sign_in.unsent_forms.csrf_failure"
MESSAGE_STORAGE = "opsconsole.message_storage.MessageStorage"
SECURE_HSTS_SECONDS = 365 * 86_400 if _production else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False
# W005, W021: we can't decide for other hosts of the domain. W008: the proxy with the certificate redirects to HTTPS;
# probes come without it.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]

# --- logs, metrics and traces ---

OPSCONSOLE_LOG_FORMAT = env.choice("OPSCONSOLE_LOG_FORMAT", logs.TEXT, logs.FORMATS)
OPSCONSOLE_ACCESS_LOG = env.boolean("OPSCONSOLE_ACCESS_LOG", default=True)
# Whoever has one of them may read /metrics; without any, nothing is counted.
OPSCONSOLE_METRICS_TOKENS = env.secrets("OPSCONSOLE_METRICS_TOKENS")
OPSCONSOLE_METRICS_DIR = Path(
    env.text("OPSCONSOLE_METRICS_DIR", str(OPSCONSOLE_VAR_DIR / "metrics"))
).resolve()
# For hosts that run the cluster and no web.
OPSCONSOLE_METRICS_LISTEN = env.listening("OPSCONSOLE_METRICS_LISTEN")
SENTRY_DSN = env.url("SENTRY_DSN", ("http", "https"), "https://key@sentry.example.com/1", is_secret=True)
OTEL_EXPORTER_OTLP_ENDPOINT = env.url(
    "OTEL_EXPORTER_OTLP_ENDPOINT", ("http", "https"), "http://127.0.0.1:4318"
)
LOGGING = logs.configuration(OPSCONSOLE_LOG_FORMAT, logs.secrets_of(os.environ))
