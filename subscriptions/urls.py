"""The paths of this package under /api/v1/.

A name stands percent-encoded in the path, a slash as %2F. Servers decode the path before we see it: a receiver or
group whose name ends like a sub-resource ("a/tokens") or that holds "/subscriptions/" cannot be told from that
sub-resource, and is reached through batches and lists only.
"""

from django.urls import URLPattern, path, register_converter
from django.urls.converters import StringConverter

from subscriptions import api, suppression_api


class NameConverter(StringConverter):
    """A tenant's own name, slashes and control characters included: the views say what is wrong with those."""

    regex = r"[\s\S]+(?<!/subscriptions)(?<!/tokens)(?<!/presence)(?<!/erase)"


register_converter(NameConverter, "tenant_name")

_GROUP = "groups/<tenant_name:group>"
_MEMBERS = f"{_GROUP}/subscriptions"
api_urls: list[URLPattern] = [
    path("receivers", api.ReceiversView.as_view()),
    path("receivers/batch", api.ReceiverBatchView.as_view(), {"receiver": "batch"}),
    path("receivers/<tenant_name:receiver>/subscriptions", api.ReceiverSubscriptionsView.as_view()),
    path("receivers/<tenant_name:receiver>", api.ReceiverView.as_view()),
    path("groups", api.GroupsView.as_view()),
    path(f"{_MEMBERS}/batch", api.SubscriptionBatchView.as_view(), {"receiver": "batch"}),
    path(f"{_MEMBERS}/<tenant_name:receiver>", api.SubscriptionView.as_view()),
    path(_MEMBERS, api.GroupSubscriptionsView.as_view()),
    path(_GROUP, api.GroupView.as_view()),
    path("suppressions", suppression_api.SuppressionsView.as_view()),
    path("suppressions/<str:channel>/<path:address>", suppression_api.SuppressionView.as_view()),
]
