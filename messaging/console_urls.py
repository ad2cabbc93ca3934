"""Console pages of messages, channels and the sandbox; they hang below a tenant's path."""

from django.urls import path

from messaging import (
    channel_trial_views,
    channel_views,
    explain_views,
    overview_views,
    request_views,
    sandbox_views,
    send_views,
    usage_views,
    views,
)

console_urls = [
    path("", overview_views.overview, name="console"),
    path("overview", overview_views.overview_live, name="console-overview-live"),
    path("messages", views.messages, name="console-messages"),
    path("messages/rows", views.message_rows, name="console-message-rows"),
    path("messages/<str:message>", views.message, name="console-message"),
    path("messages/<str:message>/live", views.message_live, name="console-message-live"),
    path("messages/<str:message>/cancel", views.cancel, name="console-message-cancel"),
    path("messages/<str:message>/deliveries.csv", views.export, {"kind": "csv"}, name="console-message-csv"),
    path("messages/<str:message>/deliveries.ndjson", views.export, {"kind": "ndjson"}, name="console-message-ndjson"),
    path("messages/<str:message>/explain", explain_views.explanation, name="console-message-explain"),
    path("deliveries/<str:delivery>", views.delivery, name="console-delivery"),
    path("deliveries/<str:delivery>/live", views.delivery_live, name="console-delivery-live"),
    path("deliveries/<str:delivery>/retry", views.retry, name="console-delivery-retry"),
    path("requests", request_views.requests, name="console-requests"),
    path("requests/rows", request_views.request_rows, name="console-request-rows"),
    path("send", send_views.send, name="console-send"),
    path("send/preview", send_views.preview, name="console-send-preview"),
    path("send/html/<str:name>", send_views.html, name="console-send-html"),
    path("sandbox/", sandbox_views.index, name="console-sandboxes"),
    path("sandbox/<str:channel>", sandbox_views.sandbox, name="console-sandbox"),
    path("sandbox/<str:channel>/live", sandbox_views.sandbox_live, name="console-sandbox-live"),
    path("sandbox/<str:channel>/html/<str:arrival>", sandbox_views.sandbox_html, name="console-sandbox-html"),
    path("settings/limits", usage_views.limits, name="console-limits"),
    path("channels", channel_views.channels, name="console-channels"),
    path("channels/<str:channel>", channel_views.channel, name="console-channel"),
    path("channels/<str:channel>/check", channel_trial_views.check, name="console-channel-check"),
    path("channels/<str:channel>/test", channel_trial_views.trial, name="console-channel-test"),
    path("channels/<str:channel>/switch", channel_views.switch, name="console-channel-switch"),
    path("channels/<str:channel>/remove", channel_views.remove, name="console-channel-remove"),
]
