"""Console pages of messages; they hang below a tenant's path."""

from django.urls import path

from messaging import views

console_urls = [
    path("", views.index, name="console"),
    path("messages", views.messages, name="console-messages"),
    path("messages/rows", views.message_rows, name="console-message-rows"),
    path("messages/<str:message>", views.message, name="console-message"),
    path("messages/<str:message>/live", views.message_live, name="console-message-live"),
    path("deliveries/<str:delivery>", views.delivery, name="console-delivery"),
    path("deliveries/<str:delivery>/retry", views.retry, name="console-delivery-retry"),
    path("send", views.send, name="console-send"),
]
