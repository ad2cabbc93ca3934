"""The WSGI application: console and REST API, without the realtime endpoints."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sprayer_project.settings")
application = get_wsgi_application()
