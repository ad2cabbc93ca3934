"""All settings of the project, from the environment only; every default works on localhost.

docs/settings.md documents each variable.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from sprayer_project import env, logs

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.text("SPRAYER_VAR_DIR", str(BASE_DIR / "var")))

DEBUG = env.boolean("SPRAYER_DEBUG")
PORT = env.integer("SPRAYER_PORT", 8000, 1)
STACK_PORT = env.integer("SPRAYER_STACK_PORT", 15600, 1024)

# --- Secrets -----------------------------------------------------------------------------------------------------
_LOCAL_SECRET = "local-development-only-never-in-production-8c1f0f6d"
_LOCAL_ENCRYPTION_KEY = "bG9jYWwtZGV2ZWxvcG1lbnQtb25seS1rZXktMDAwMDE="
SECRET_KEY = env.text("SPRAYER_SECRET_KEY", _LOCAL_SECRET)
ENCRYPTION_KEYS = env.items("SPRAYER_ENCRYPTION_KEYS", _LOCAL_ENCRYPTION_KEY)
USES_LOCAL_SECRETS = SECRET_KEY == _LOCAL_SECRET or _LOCAL_ENCRYPTION_KEY in ENCRYPTION_KEYS

# --- Where we are reached ----------------------------------------------------------------------------------------
PUBLIC_URL = env.url("SPRAYER_PUBLIC_URL", f"http://127.0.0.1:{PORT}", ("http", "https")).rstrip("/")
ALLOWED_HOSTS = env.items("SPRAYER_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
_SECURE = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _SECURE
BEHIND_PROXY = env.boolean("SPRAYER_BEHIND_PROXY")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None

# --- Stores ------------------------------------------------------------------------------------------------------
DATABASES = {
    "default": dj_database_url.parse(
        env.text("SPRAYER_DATABASE_URL", f"sqlite:///{VAR_DIR / 'sprayer.sqlite3'}"), conn_max_age=0
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 10,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
AMQP_URL = env.url("SPRAYER_AMQP_URL", f"amqp://sprayer:sprayer@127.0.0.1:{STACK_PORT}/%2F", ("amqp", "amqps"))
_REDIS_SCHEMES = ("redis", "rediss", "unix")
REDIS_URLS = [
    part.strip()
    for part in env.url("SPRAYER_REDIS_URLS", f"redis://127.0.0.1:{STACK_PORT + 2}/0", _REDIS_SCHEMES).split(",")
]
MONGODB_URL = env.url(
    "SPRAYER_MONGODB_URL", f"mongodb://127.0.0.1:{STACK_PORT + 4}/sprayer", ("mongodb", "mongodb+srv")
)
CACHE_URL = env.url("SPRAYER_CACHE_URL", f"redis://127.0.0.1:{STACK_PORT + 2}/1", ("redis", "rediss"))
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_URL,
        "OPTIONS": {"IGNORE_EXCEPTIONS": True, "SOCKET_CONNECT_TIMEOUT": 1, "SOCKET_TIMEOUT": 1},
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

# --- Providers ---------------------------------------------------------------------------------------------------
SANDBOX_PORT = env.integer("SPRAYER_SANDBOX_PORT", STACK_PORT + 8, 1)
SANDBOX_SMTP_PORT = env.integer("SPRAYER_SANDBOX_SMTP_PORT", STACK_PORT + 9, 1)
# 0 takes a free one: the sandbox's root page says where.
SANDBOX_APNS_PORT = env.integer("SPRAYER_SANDBOX_APNS_PORT", 0)
SANDBOX_URL = env.url("SPRAYER_SANDBOX_URL", f"http://127.0.0.1:{SANDBOX_PORT}", ("http", "https")).rstrip("/")
PROVIDER_URLS = {
    "twilio": env.url("SPRAYER_TWILIO_URL", "https://api.twilio.com", ("http", "https")),
    "apns": env.url("SPRAYER_APNS_URL", "https://api.push.apple.com", ("http", "https")),
    "apns_development": env.url(
        "SPRAYER_APNS_DEVELOPMENT_URL", "https://api.sandbox.push.apple.com", ("http", "https")
    ),
    "fcm": env.url("SPRAYER_FCM_URL", "https://fcm.googleapis.com", ("http", "https")),
    "mailgun": env.url("SPRAYER_MAILGUN_URL", "https://api.mailgun.net", ("http", "https")),
    "google_oauth": env.url("SPRAYER_GOOGLE_OAUTH_URL", "https://oauth2.googleapis.com", ("http", "https")),
}
WEBHOOK_ALLOW_PRIVATE = env.items("SPRAYER_WEBHOOK_ALLOW_PRIVATE")
WEBHOOK_TIMEOUT = env.number("SPRAYER_WEBHOOK_TIMEOUT", 15, 0.1)

# --- Feedback webhooks -------------------------------------------------------------------------------------------
FEEDBACK_WEBHOOK_LINGER = env.number("SPRAYER_FEEDBACK_WEBHOOK_LINGER", 1, 0)
FEEDBACK_WEBHOOK_PATIENCE = env.number("SPRAYER_FEEDBACK_WEBHOOK_PATIENCE", 3 * 86_400, 1)
FEEDBACK_WEBHOOK_BACKLOG = env.integer("SPRAYER_FEEDBACK_WEBHOOK_BACKLOG", 10_000, 1)

# --- Mail to people ----------------------------------------------------------------------------------------------
_mail = env.server("SPRAYER_EMAIL_URL", ("smtp", "smtps", "smtp+tls", "file"))
SENDS_MAIL = bool(_mail.scheme)
_backend = {"": "dummy", "file": "filebased"}.get(_mail.scheme, "smtp")
EMAIL_BACKEND = f"django.core.mail.backends.{_backend}.EmailBackend"
EMAIL_FILE_PATH = unquote(_mail.path) if _mail.scheme == "file" else None
EMAIL_HOST = _mail.hostname or ""
EMAIL_PORT = _mail.port or {"smtps": 465, "smtp+tls": 587}.get(_mail.scheme, 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
EMAIL_USE_SSL, EMAIL_USE_TLS = _mail.scheme == "smtps", _mail.scheme == "smtp+tls"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("SPRAYER_EMAIL_FROM", f"sprayer@{urlsplit(PUBLIC_URL).hostname}")

# --- Delivery ----------------------------------------------------------------------------------------------------
PUBLISH_TIMEOUT = env.number("SPRAYER_PUBLISH_TIMEOUT", 2, 0.1)
SWEEP_AGE = env.number("SPRAYER_SWEEP_AGE", 5, 0.1)
SWEEP_INTERVAL = env.number("SPRAYER_SWEEP_INTERVAL", 1, 0.05)
STALLED_AGE = env.number("SPRAYER_STALLED_AGE", 600, 1)
PAGE_SIZE = env.integer("SPRAYER_PAGE_SIZE", 500, 1)
CLAIM_LEASE = env.number("SPRAYER_CLAIM_LEASE", 60, 1)
PREFETCH = env.integer("SPRAYER_PREFETCH", 100, 1)
FEEDER_BATCH = env.integer("SPRAYER_FEEDER_BATCH", 1000, 1)
FEEDER_LINGER = env.number("SPRAYER_FEEDER_LINGER", 0.2, 0)
RETENTION_DAYS = env.integer("SPRAYER_RETENTION_DAYS", 90)
RATE_LIMIT = env.text("SPRAYER_RATE_LIMIT", "6000/minute")
REQUEST_LOG = env.integer("SPRAYER_REQUEST_LOG", 10_000, 0)
INBOX_LENGTH = env.integer("SPRAYER_INBOX_LENGTH", 1000, 1)
INBOX_AGE = env.number("SPRAYER_INBOX_AGE", 604_800, 1)
REALTIME_WINDOW = env.integer("SPRAYER_REALTIME_WINDOW", 1_048_576, 1)
REALTIME_SLOW = env.number("SPRAYER_REALTIME_SLOW", 10, 0.1)
REALTIME_ORIGINS = env.items("SPRAYER_REALTIME_ORIGINS", "*")
REALTIME_PING = env.number("SPRAYER_REALTIME_PING", 20, 0.1)
REALTIME_FRAMES = env.integer("SPRAYER_REALTIME_FRAMES", 500, 1)
REALTIME_RECEIVER_CONNECTIONS = env.integer("SPRAYER_REALTIME_RECEIVER_CONNECTIONS", 50, 1)
REALTIME_TENANT_CONNECTIONS = env.integer("SPRAYER_REALTIME_TENANT_CONNECTIONS", 50_000, 1)
REALTIME_CHECK = env.number("SPRAYER_REALTIME_CHECK", 20, 0.1)

if SWEEP_AGE <= PUBLISH_TIMEOUT:
    raise ImproperlyConfigured("SPRAYER_SWEEP_AGE must exceed SPRAYER_PUBLISH_TIMEOUT: a publish may be under way")

# --- Django ------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "tenants",
    "subscriptions",
    "feedback",
    "messaging",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "sprayer_project.logs.RequestLogMiddleware",
    "sprayer_project.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "sprayer_project.urls"
ASGI_APPLICATION = "sprayer_project.asgi.application"
WSGI_APPLICATION = "sprayer_project.wsgi.application"
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
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024
APPEND_SLASH = False

AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "account_login"

# --- Accounts ----------------------------------------------------------------------------------------------------
SIGNUP = env.boolean("SPRAYER_SIGNUP")
OWNED_TENANTS = env.integer("SPRAYER_OWNED_TENANTS", 10, 1)
ACCOUNT_ADAPTER = "tenants.adapters.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = {"login_failed": "20/m/ip,10/15m/key"}
ACCOUNT_FORMS = {
    "login": "tenants.account_forms.LoginForm",
    "signup": "tenants.account_forms.SignupForm",
    "add_email": "tenants.account_forms.AddressForm",
    "change_password": "tenants.account_forms.PasswordForm",
    "reset_password": "tenants.account_forms.ForgottenForm",
    "reset_password_from_key": "tenants.account_forms.NewPasswordForm",
    "reauthenticate": "tenants.account_forms.ReauthenticateForm",
}
MFA_ADAPTER = "tenants.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_TOTP_ISSUER = "Sprayer"
MFA_TOTP_TOLERANCE = 1
MFA_FORMS = {
    "authenticate": "tenants.account_forms.SecondFactorForm",
    "reauthenticate": "tenants.account_forms.SecondFactorAgainForm",
    "activate_totp": "tenants.account_forms.AuthenticatorForm",
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["sprayer_project.errors.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "sprayer_project.schema.Schema",
    "EXCEPTION_HANDLER": "sprayer_project.errors.problem_handler",
    "UNAUTHENTICATED_USER": None,
    # ?format= is a parameter of ours.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Sprayer",
    "DESCRIPTION": "One HTTP + JSON API for every push channel, with feedback on every delivery.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "MessageStatus": "messaging.selectors.STATUSES",
        "DeliveryStatus": "feedback.serializers.STATUSES",
        "Verdict": "messaging.explain_api.VERDICTS",
        "AddressStatus": "messaging.explain_api.ADDRESS_STATUSES",
    },
    "TAGS": [
        {"name": "Messages", "description": "Send, follow, cancel; what became of each delivery."},
        {"name": "Webhooks", "description": "Where Sprayer posts what becomes of deliveries, signed."},
        {"name": "Receivers", "description": "End users and their addresses."},
        {"name": "Groups and subscriptions", "description": "Named audiences."},
        {"name": "Realtime", "description": "Receivers' own connections, and the tokens for them."},
        {"name": "Sandbox", "description": "What test messages became at the local gateways."},
    ],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "messaging.realtime.openapi.add",
        "sprayer_project.schema.finish",
    ],
}

LOGGING = logs.configuration(env.text("SPRAYER_LOG_LEVEL", "INFO"), json=env.boolean("SPRAYER_LOG_JSON"))
