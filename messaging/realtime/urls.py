"""REST URLs below /api/v1/ of the realtime endpoints."""

from django.urls import path

from messaging.realtime.api import TokensView

api_urls = [
    path("receivers/<path:receiver>/tokens", TokensView.as_view(), name="receiver-tokens"),
]
