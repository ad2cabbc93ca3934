"""Realtime URLs, for the ASGI application."""

from django.urls import path

from messaging.realtime import polls, stream
from messaging.realtime.consumer import RealtimeConsumer
from messaging.realtime.http import Endpoint, Routed

__all__ = ["Routed", "http_endpoints", "websocket_urlpatterns"]

websocket_urlpatterns = [
    path("api/v1/realtime", RealtimeConsumer.as_asgi()),  # type: ignore[arg-type]
]
http_endpoints = {
    "/api/v1/inbox": Endpoint(GET=polls.poll),
    "/api/v1/inbox/ack": Endpoint(POST=polls.ack),
    "/api/v1/inbox/read": Endpoint(POST=polls.read),
    "/api/v1/inbox/history": Endpoint(GET=polls.history),
    "/api/v1/inbox/stream": Endpoint(GET=stream.stream),
}
