"""REST URLs below /api/v1/ of the realtime endpoints."""

from django.urls import path

from messaging.realtime.api import TokensView
from messaging.realtime.presence_api import GroupPresenceView, ReceiverPresenceView

api_urls = [
    path("receivers/<path:receiver>/tokens", TokensView.as_view(), name="receiver-tokens"),
    path("receivers/<path:receiver>/presence", ReceiverPresenceView.as_view()),
    path("groups/<path:group>/presence", GroupPresenceView.as_view()),
]
