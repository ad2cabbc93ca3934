"""The record of messages."""

from mongoengine import (
    BooleanField,
    DateTimeField,
    DictField,
    Document,
    IntField,
    ListField,
    StringField,
)


class Message(Document):
    """What a tenant submitted once.

    status is one of scheduled, accepted, routing, routed, settled, cancelled, expired.
    """

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    mode = StringField(required=True)
    status = StringField(required=True)
    created_at = DateTimeField(required=True)
    expires_at = DateTimeField(required=True)
    send_at = DateTimeField()
    to = DictField(required=True)
    """{"receivers": [...], "groups": [...], "addresses": [{"channel", "address", "hash"}]}"""
    channels = ListField(StringField())
    targets = DictField()
    """channel -> receivers to try on it, where the channels were left to us; absent where the message names them."""
    content = DictField()
    overrides = DictField()
    attributes = DictField()
    metadata = DictField()
    ttl = IntField()
    priority = StringField()
    collapse_key = StringField()
    collapse = StringField()
    """Where messages with a collapse key are found in the order of their starts: see messaging.collapsing."""
    exclude_connection = StringField()
    idempotency = StringField()
    """The claim "<tenant>/<mode>/<key>" of an Idempotency-Key, for 24 hours."""
    idempotency_key = StringField()
    body_hash = StringField()
    key_expires_at = DateTimeField()
    progress_at = DateTimeField()
    """When routing last moved; the sweeper routes a message anew that stands still."""
    look_at = DateTimeField()
    """When the sweeper looks at it again."""
    expected = IntField(default=0)
    """The number of deliveries that named targets make at least."""
    routes = ListField(StringField())
    """The Expand chains that have to end: "<channel>/<index of the group in to.groups>"."""
    routed = DictField()
    """route -> the number of subscribers that its chain resolved, written by its last page."""
    routings = IntField(default=0)

    meta = {
        "collection": "messages",
        "auto_create_index": False,
        "strict": False,
        "indexes": [
            {"fields": ["idempotency"], "unique": True, "sparse": True, "name": "idempotency"},
            {"fields": ["tenant", "mode", "-id"], "name": "newest"},
            {"fields": ["tenant", "mode", "status", "-id"], "name": "by_status"},
            {"fields": ["tenant", "to.groups", "-id"], "name": "by_group"},
            {"fields": ["tenant", "to.receivers", "-id"], "name": "by_receiver"},
            {"fields": ["tenant", "to.addresses.hash", "-id"], "name": "by_address"},
            {"fields": ["tenant", "mode", "channels", "-id"], "name": "by_channel"},
            {"fields": ["tenant", "mode", "idempotency_key", "-id"], "name": "by_key"},
            {"fields": ["tenant", "expires_at"], "name": "retention"},
            {"fields": ["status", "look_at"], "name": "sweep"},
            {"fields": ["key_expires_at"], "sparse": True, "name": "keys"},
            {"fields": ["collapse"], "sparse": True, "name": "collapse"},
        ],
    }


class UndecodableJob(Document):
    """A job that nobody could read, copied from the broker so that an operator can look at it."""

    queue = StringField(required=True)
    reason = StringField(required=True)
    body = StringField(required=True)
    tenant = StringField()
    message = StringField()
    at = DateTimeField(required=True)

    meta = {
        "collection": "undecodable_jobs",
        "auto_create_index": False,
        "indexes": [
            {"fields": ["at"], "expireAfterSeconds": 30 * 86_400, "name": "ttl"},
            {"fields": ["tenant"], "name": "by_tenant"},
        ],
    }


class Erasure(Document):
    """A receiver that is being erased: see messaging.erasure. Its id is "<tenant>/<name>"."""

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    receiver = StringField(required=True)
    names = ListField(StringField())
    """The receiver, and its addresses as addr:<hash>."""
    mark = StringField(required=True)
    at = DateTimeField(required=True)
    """When it was asked for, the last time: what is younger is somebody new."""
    look_at = DateTimeField(required=True)
    looks = IntField(default=0)

    meta = {
        "collection": "erasures",
        "auto_create_index": False,
        "indexes": [{"fields": ["look_at"], "name": "sweep"}],
    }


class Errand(Document):
    """Work of a tenant that sweepers do step by step: see messaging.errands."""

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    kind = StringField(required=True)
    by = StringField()
    arguments = DictField()
    progress = DictField()
    status = StringField(required=True)
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)
    look_at = DateTimeField()
    """When the next step is due, or a step that was begun counts as killed."""
    tries = IntField(default=0)
    """Steps in a row that failed."""
    forget_at = DateTimeField()

    meta = {
        "collection": "errands",
        "auto_create_index": False,
        "indexes": [
            {"fields": ["tenant", "kind", "-id"], "name": "newest"},
            {"fields": ["status", "look_at"], "name": "sweep"},
            {"fields": ["forget_at"], "expireAfterSeconds": 0, "name": "ttl"},
        ],
    }


class ImportChunk(Document):
    """Rows of a file that is being imported, in the order of their numbers: see messaging.imports.

    Its id is "<errand>/<number>". Once they are written the rows go, and what was bad of them stays for the report.
    Both are JSON: not all that a file says is something that MongoDB keeps.
    """

    id = StringField(primary_key=True)
    tenant = StringField(required=True)
    rows = StringField(required=True)
    bad = StringField(required=True)
    receivers = ListField(StringField())
    """Whom rows and bad name."""
    size = IntField(required=True)
    """How many rows it had."""
    done = BooleanField(required=True)
    forget_at = DateTimeField(required=True)

    meta = {
        "collection": "import_chunks",
        "auto_create_index": False,
        "strict": False,
        "indexes": [
            {"fields": ["tenant"], "name": "by_tenant"},
            {"fields": ["forget_at"], "expireAfterSeconds": 0, "name": "ttl"},
        ],
    }


DOCUMENTS = (Message, UndecodableJob, Erasure, Errand, ImportChunk)
