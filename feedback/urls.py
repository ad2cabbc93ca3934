from django.urls import path

from feedback.api import DeliveryView

api_urls = [path("deliveries/<str:delivery>", DeliveryView.as_view(), name="delivery")]
