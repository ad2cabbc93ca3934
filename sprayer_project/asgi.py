"""The ASGI application: console, REST API and realtime endpoints."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sprayer_project.settings")
django = get_asgi_application()

# Django's apps are ready only now.
from messaging.realtime.routing import Routed, http_endpoints, websocket_urlpatterns  # noqa: E402

http = Routed(http_endpoints, django)
websocket = URLRouter(websocket_urlpatterns)  # type: ignore[arg-type]  # the stub wants a class that path() never makes
application = ProtocolTypeRouter({"http": http, "websocket": websocket})
