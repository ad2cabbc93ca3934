"""The record of receivers, groups and subscriptions: their shapes and the indexes that serve their look-ups.

version grows with every change and is never used twice for one name, also after a deletion: it starts at the Unix
time in milliseconds. index_pending says that the Redis index may not know this version yet. A deleted document
stays until the index has let go of it; its name is free for another at once.
"""

from typing import Any

from mongoengine import (
    BooleanField,
    DateTimeField,
    DictField,
    Document,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    IntField,
    ListField,
    ObjectIdField,
    StringField,
)
from pymongo.collection import Collection

from sprayer_project import mongo

_LIVE: dict[str, Any] = {"deleted": False}
_PENDING = {"fields": ["tenant"], "partialFilterExpression": {"index_pending": True}, "name": "pending"}


class Address(EmbeddedDocument):
    """Where a receiver is reached on one channel. status: active or retired; active_at: see AddressRow."""

    channel = StringField(required=True)
    address = StringField(required=True)
    hash = StringField(required=True)
    status = StringField(required=True)
    reason = StringField()
    created_at = DateTimeField(required=True)
    active_at = DateTimeField(required=True)
    retired_at = DateTimeField()


class Receiver(Document):
    tenant = StringField(required=True)
    name = StringField(required=True)
    addresses = EmbeddedDocumentListField(Address)
    attributes = DictField()
    locale = StringField()
    timezone = StringField()
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)
    version = IntField(required=True)
    index_pending = BooleanField(required=True)
    deleted = BooleanField(required=True)

    meta = {
        "collection": "receivers",
        "auto_create_index": False,
        "index_cls": False,
        "indexes": [
            {"fields": ["tenant", "name"], "unique": True, "partialFilterExpression": _LIVE, "name": "live_name"},
            {"fields": ["tenant", "addresses.channel", "addresses.hash"], "name": "by_address"},
            _PENDING,
        ],
    }


class Group(Document):
    tenant = StringField(required=True)
    name = StringField(required=True)
    title = StringField()
    """What people call it."""
    channels = ListField(StringField(), null=True)
    """The only channels its subscribers are reached on; None for all."""
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)
    version = IntField(required=True)
    index_pending = BooleanField(required=True)
    deleted = BooleanField(required=True)

    meta = {
        "collection": "groups",
        "auto_create_index": False,
        "index_cls": False,
        "indexes": [
            {"fields": ["tenant", "name"], "unique": True, "partialFilterExpression": _LIVE, "name": "live_name"},
            _PENDING,
        ],
    }


class Subscription(Document):
    """Belongs to one life of a group and of a receiver, by their ids: a name that is used again starts without any."""

    tenant = StringField(required=True)
    group = StringField(required=True)
    receiver = StringField(required=True)
    group_id = ObjectIdField(required=True)
    receiver_id = ObjectIdField(required=True)
    channels = ListField(StringField(), null=True)
    """None: every channel that the receiver has."""
    created_at = DateTimeField(required=True)
    version = IntField(required=True)
    index_pending = BooleanField(required=True)
    deleted = BooleanField(required=True)

    meta = {
        "collection": "subscriptions",
        "auto_create_index": False,
        "index_cls": False,
        "indexes": [
            {"fields": ["group_id", "receiver_id"], "unique": True, "name": "pair"},
            {"fields": ["tenant", "group_id", "receiver"], "name": "by_group"},
            {"fields": ["receiver_id", "group"], "name": "by_receiver"},
            _PENDING,
        ],
    }


class Suppression(Document):
    """A plain address that messages do not go to. Its id is "<tenant>/<channel>/<hash>".

    A lifted one stays, without its address: what is older than its lifting does not bring it back.
    """

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    channel = StringField(required=True)
    hash = StringField(required=True)
    address = StringField()
    reason = StringField(required=True)
    order = StringField(required=True)
    """Where it stands among the others: an id that grows with the time at which it came."""
    at = DateTimeField(required=True)
    lifted_at = DateTimeField()
    version = IntField(required=True)
    index_pending = BooleanField(required=True)
    deleted = BooleanField(required=True)
    """Lifted."""

    meta = {
        "collection": "suppressions",
        "auto_create_index": False,
        "index_cls": False,
        "indexes": [
            {"fields": ["tenant", "deleted", "-order"], "name": "newest"},
            {"fields": ["tenant", "deleted", "id"], "name": "pages"},
            _PENDING,
        ],
    }


DOCUMENTS = (Receiver, Group, Subscription, Suppression)


def ensure_indexes() -> None:
    """Create what is missing; harmless to repeat."""
    for document in DOCUMENTS:
        document.ensure_indexes()


def receivers() -> Collection[dict[str, Any]]:
    return _durable("receivers")


def groups() -> Collection[dict[str, Any]]:
    return _durable("groups")


def subscriptions() -> Collection[dict[str, Any]]:
    return _durable("subscriptions")


def suppressions() -> Collection[dict[str, Any]]:
    return _durable("suppressions")


def _durable(name: str) -> Collection[dict[str, Any]]:
    return mongo.database().get_collection(name, write_concern=mongo.DURABLE)
