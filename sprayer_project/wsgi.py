"""The WSGI application: console and REST API, without the realtime endpoints."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sprayer_project.settings")
application = get_wsgi_application()

from sprayer_project import worker  # noqa: E402  (it reads Django's settings)

worker.collect_less(2_000, 10, 10)
