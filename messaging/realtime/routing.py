"""WebSocket URLs, for the ASGI application."""

from django.urls import path

from messaging.realtime.consumer import RealtimeConsumer

websocket_urlpatterns = [
    path("api/v1/realtime", RealtimeConsumer.as_asgi()),  # type: ignore[arg-type]
]
