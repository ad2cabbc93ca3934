from django.urls import path

from feedback import webhook_api
from feedback.api import DeliveryView

api_urls = [
    path("deliveries/<str:delivery>", DeliveryView.as_view(), name="delivery"),
    path("webhooks", webhook_api.WebhooksView.as_view()),
    path("webhooks/<str:webhook>", webhook_api.WebhookView.as_view()),
    path("webhooks/<str:webhook>/rotate", webhook_api.RotateView.as_view()),
    path("webhooks/<str:webhook>/test", webhook_api.TestView.as_view()),
    path("webhooks/<str:webhook>/log", webhook_api.LogView.as_view()),
]
