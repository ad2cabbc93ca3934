"""The record of deliveries in MongoDB. Written only by feedback.services, read only by feedback.selectors."""

from datetime import timedelta
from typing import Any

import pymongo.collection
from mongoengine import BooleanField, DateTimeField, DictField, Document, IntField, ListField, StringField

from sprayer_project.mongo import DURABLE

Collection = pymongo.collection.Collection[dict[str, Any]]
PARKED_FOR = timedelta(hours=1)
ERASED = "\U0010ffff"
"""Before what stands for an erased name or address: greater than any other text, so that `$max` keeps it."""


class Delivery(Document):
    """One message to one address. Only updates that commute build it, so that order and repetition do not matter:

    state       `$max` of {score, at, event, status, round, attempt, reason, due_at, wake_at?, keeper?, dead?}: BSON
                compares documents field by field, so the order of the fields is the order of the comparison.
    events      `$min` per slot `r<round>a<attempt>_<fact or status>` of {at, event, ...}: one entry a kind of fact, the
                earliest. That bounds the map: rounds x (attempts of the retry schedule + kinds of facts).
    speed       `$min` per status of the bucket of the time that it took since the message's acceptance.
    scheduled   the message had a send_at: its speed says nothing.
    provider_ids  `$addToSet` of "<tenant>/<channel>/<provider's id>", one for each attempt that got one.
    the rest    immutable, or `$max` where an early event (a provider's callback) may not know it yet.

    state.wake_at is there while the sweeper has something to do later: an attempt that is due or an expiry.
    state.keeper is there while the message waits in an inbox: the memory that holds it. What a lost one held is found
    by it and put into the present one.
    state.dead is "<tenant>/<mode>/<id>" while the row is listed among the dead letters: one sparse index lists and
    pages it. All three are sparse, so that settled rows cost no index.
    """

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    mode = StringField(required=True)
    message = StringField(required=True)
    channel = StringField(required=True)
    receiver = StringField()
    group = StringField()
    address_hash = StringField()
    address_masked = StringField()
    state = DictField()
    events = DictField()
    speed = DictField()
    scheduled = BooleanField()
    provider_ids = ListField(StringField())
    expires_at = DateTimeField()

    meta = {
        "collection": "deliveries",
        "auto_create_index": False,
        "indexes": [
            {"fields": ["tenant", "message", "id"]},
            {"fields": ["tenant", "receiver", "id"]},
            {"fields": ["tenant", "address_hash", "id"]},
            {"fields": ["tenant", "group", "id"]},
            {"fields": ["tenant", "mode", "id"]},
            {"fields": ["tenant", "mode", "channel", "state.status", "id"]},
            {"fields": ["provider_ids"], "sparse": True},
            {"fields": ["state.wake_at"], "sparse": True},
            {"fields": ["state.keeper"], "sparse": True},
            {"fields": ["state.dead"], "sparse": True},
        ],
    }


class MessageTotals(Document):
    """The counts by channel and status of a message to a group or to many, counted from its deliveries by the sweeper.

    The feeder raises version and sets stale; counts belong to stored_version. Messages to a few are counted when
    somebody asks, and have no document here.
    """

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    mode = StringField(required=True)
    version = IntField(default=0)
    stored_version = IntField(default=0)
    stale = BooleanField()
    channels = DictField()
    speeds = DictField()
    as_of = DateTimeField()
    next_at = DateTimeField()

    meta = {
        "collection": "message_totals",
        "auto_create_index": False,
        "indexes": [{"fields": ["tenant", "mode", "id"]}, {"fields": ["stale"], "sparse": True}],
    }


class PeriodTotals(Document):
    """The counts of one tenant's and mode's messages of one minute, hour or day: see feedback.rollups.

    Its id is "<tenant>/<mode>/<interval>/<start>". version, stale and stored_version are as in MessageTotals.
    """

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    mode = StringField(required=True)
    interval = StringField(required=True)
    start = DateTimeField(required=True)
    version = IntField(default=0)
    stored_version = IntField(default=0)
    stale = BooleanField()
    channels = DictField()
    speeds = DictField()
    as_of = DateTimeField()
    next_at = DateTimeField()

    meta = {
        "collection": "period_totals",
        "auto_create_index": False,
        "indexes": [
            {"fields": ["tenant", "mode", "interval", "start"]},
            {"fields": ["interval", "start"]},
            {"fields": ["stale"], "sparse": True},
        ],
    }


class ParkedEvent(Document):
    """A provider's event that names only the provider's id, until the `sent` event tells which delivery that is."""

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    provider_key = StringField(required=True)
    body = StringField(required=True)
    created_at = DateTimeField(required=True)

    meta = {
        "collection": "parked_events",
        "auto_create_index": False,
        "indexes": [
            {"fields": ["provider_key"]},
            {"fields": ["created_at"], "expireAfterSeconds": int(PARKED_FOR.total_seconds())},
        ],
    }


class WebhookBatch(Document):
    """A request that a feedback webhook has still to get; it is deleted when it was answered with 2xx or given up."""

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    webhook = StringField(required=True)
    body = StringField(required=True)
    events = IntField(required=True)
    attempts = IntField(default=0)
    first_at = DateTimeField()
    created_at = DateTimeField(required=True)
    wake_at = DateTimeField(required=True)

    meta = {
        "collection": "webhook_batches",
        "auto_create_index": False,
        "indexes": [{"fields": ["webhook", "wake_at"]}, {"fields": ["tenant"]}],
    }


class WebhookLane(Document):
    """How one feedback webhook is doing, and whose turn it is: one daemon at a time sends to it.

    wake_at     when to look at its batches; absent while there are none. version rises with each batch that is added.
    holder      the turn that sends now, until held_until.
    rest_until  after too many failures in a row: only a single probe until then.
    log         the newest attempts, bounded.
    """

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    version = IntField(default=0)
    wake_at = DateTimeField()
    holder = StringField()
    held_until = DateTimeField()
    rest_until = DateTimeField()
    failures = IntField(default=0)
    failing_since = DateTimeField()
    delivered_at = DateTimeField()
    dropped = IntField(default=0)
    log = ListField(DictField())

    meta = {
        "collection": "webhook_lanes",
        "auto_create_index": False,
        "indexes": [{"fields": ["wake_at"], "sparse": True}],
    }


DOCUMENTS = (Delivery, MessageTotals, PeriodTotals, ParkedEvent, WebhookBatch, WebhookLane)


def collection(document: type[Document]) -> Collection:
    """The bare collection, whose writes are acknowledged when they are journalled."""
    found: Collection = document._get_collection().with_options(write_concern=DURABLE)
    return found
