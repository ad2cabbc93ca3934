from django.urls import path

from messaging import (
    api,
    callbacks,
    erasure_api,
    explain_api,
    export_api,
    sandbox_api,
    search_api,
    totals_api,
    unsubscribe_views,
)
from messaging.audience_urls import audience_urls
from messaging.console_urls import console_urls as message_urls
from messaging.realtime.urls import api_urls as realtime_urls

api_urls = [
    path("messages", api.MessagesView.as_view()),
    path("messages/batch", api.BatchView.as_view()),
    path("messages/<str:message>", api.MessageView.as_view()),
    path("messages/<str:message>/deliveries", api.DeliveriesView.as_view()),
    path("messages/<str:message>/explain", explain_api.ExplainView.as_view()),
    path("messages/<str:message>/cancel", api.CancelView.as_view()),
    path("messages/<str:message>/deliveries.csv", export_api.MessageCsvView.as_view()),
    path("messages/<str:message>/deliveries.ndjson", export_api.MessageNdjsonView.as_view()),
    path("deliveries/export", export_api.PeriodView.as_view()),
    path("totals", totals_api.TotalsView.as_view()),
    path("deliveries", search_api.DeliverySearchView.as_view()),
    path("receivers/<path:receiver>/erase", erasure_api.EraseView.as_view()),
    path("deliveries/<str:delivery>/retry", api.RetryView.as_view()),
    path("sandbox/<str:channel>", sandbox_api.SandboxView.as_view()),
    *callbacks.callback_urls,
    path("unsubscribe/<str:tenant>", unsubscribe_views.unsubscribe),
    *realtime_urls,
]

console_urls = [*message_urls, *audience_urls]

__all__ = ["api_urls", "console_urls"]
