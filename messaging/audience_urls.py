"""Console pages of receivers, groups and dead letters; they hang below a tenant's path.

A name may hold slashes, so it stands last, and what is done to it stands before it.
"""

from django.urls import path

from messaging import dead_letter_views, group_views, import_views, receiver_views, suppression_views

audience_urls = [
    path("receivers", receiver_views.receivers, name="console-receivers"),
    path("receivers.csv", import_views.receivers, {"kind": "csv"}, name="console-receivers-csv"),
    path("receivers.ndjson", import_views.receivers, {"kind": "ndjson"}, name="console-receivers-ndjson"),
    path("imports", import_views.index, name="console-imports"),
    path("imports/<str:upload>", import_views.upload, name="console-import"),
    path("imports/<str:upload>/refused.csv", import_views.report, name="console-import-report"),
    path("imports/<str:upload>/stop", import_views.stop, name="console-import-stop"),
    path("receivers/<path:receiver>", receiver_views.receiver, name="console-receiver"),
    path("receiver/new", receiver_views.new, name="console-receiver-new"),
    path("receiver/edit/<path:receiver>", receiver_views.edit, name="console-receiver-edit"),
    path("receiver/delete/<path:receiver>", receiver_views.delete, name="console-receiver-delete"),
    path("receiver/erase/<path:receiver>", receiver_views.erase, name="console-receiver-erase"),
    path("receiver/token/<path:receiver>", receiver_views.token, name="console-receiver-token"),
    path("receiver/address/add/<path:receiver>", receiver_views.add_address, name="console-address-add"),
    path("receiver/address/remove/<path:receiver>", receiver_views.remove_address, name="console-address-remove"),
    path(
        "receiver/address/reactivate/<path:receiver>",
        receiver_views.reactivate_address,
        name="console-address-reactivate",
    ),
    path("receiver/subscribe/<path:receiver>", receiver_views.subscribe, name="console-receiver-subscribe"),
    path("receiver/unsubscribe/<path:receiver>", receiver_views.unsubscribe, name="console-receiver-unsubscribe"),
    path("suppressions", suppression_views.suppressions_page, name="console-suppressions"),
    path("suppressions/lift", suppression_views.lift, name="console-suppression-lift"),
    path("dead-letters", dead_letter_views.groups, name="console-dead-letters"),
    path("dead-letters/group", dead_letter_views.letters, name="console-dead-letter-group"),
    path("dead-letters/preview", dead_letter_views.preview, name="console-dead-letter-preview"),
    path("dead-letters/act", dead_letter_views.act, name="console-dead-letter-act"),
    path("dead-letters/errands/<str:errand>", dead_letter_views.errand, name="console-dead-letter-errand"),
    path("dead-letters/errands/<str:errand>/stop", dead_letter_views.stop, name="console-dead-letter-stop"),
    path("groups", group_views.groups, name="console-groups"),
    path("groups/<path:group>", group_views.group, name="console-group"),
    path("group/new", group_views.new, name="console-group-new"),
    path("group/csv/<path:group>", import_views.members, {"kind": "csv"}, name="console-group-csv"),
    path("group/ndjson/<path:group>", import_views.members, {"kind": "ndjson"}, name="console-group-ndjson"),
    path("group/edit/<path:group>", group_views.edit, name="console-group-edit"),
    path("group/delete/<path:group>", group_views.delete, name="console-group-delete"),
    path("group/subscribe/<path:group>", group_views.subscribe, name="console-group-subscribe"),
    path("group/unsubscribe/<path:group>", group_views.unsubscribe, name="console-group-unsubscribe"),
]
