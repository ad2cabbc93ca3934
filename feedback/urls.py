from django.urls import path

from feedback import live_views, webhook_api, webhook_views
from feedback.api import DeliveryView
from feedback.live_api import EventsView

api_urls = [
    path("deliveries/<str:delivery>", DeliveryView.as_view(), name="delivery"),
    path("events", EventsView.as_view(), name="events"),
    path("webhooks", webhook_api.WebhooksView.as_view()),
    path("webhooks/<str:webhook>", webhook_api.WebhookView.as_view()),
    path("webhooks/<str:webhook>/rotate", webhook_api.RotateView.as_view()),
    path("webhooks/<str:webhook>/test", webhook_api.TestView.as_view()),
    path("webhooks/<str:webhook>/log", webhook_api.LogView.as_view()),
]

console_urls = [
    path("live", live_views.page, name="console-live"),
    path("live/events", live_views.events, name="console-live-events"),
    path("webhooks", webhook_views.index, name="console-webhooks"),
    path("webhooks/new", webhook_views.new, name="console-webhook-new"),
    path("webhooks/<str:webhook>", webhook_views.show, name="console-webhook"),
    path("webhooks/<str:webhook>/edit", webhook_views.edit, name="console-webhook-edit"),
    path("webhooks/<str:webhook>/test", webhook_views.test, name="console-webhook-test"),
    path("webhooks/<str:webhook>/switch", webhook_views.switch, name="console-webhook-switch"),
    path("webhooks/<str:webhook>/rotate", webhook_views.rotate, name="console-webhook-rotate"),
    path("webhooks/<str:webhook>/delete", webhook_views.delete, name="console-webhook-delete"),
]
