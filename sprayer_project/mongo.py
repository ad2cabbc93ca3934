"""One lazy MongoDB client a process, behind mongoengine's default connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mongoengine
import pymongo
from django.conf import settings
from pymongo import WriteConcern
from pymongo.database import Database

TIMEOUT_MS = 1250

DURABLE = WriteConcern(w="majority", j=True)
"""For the writes that a promise rests on: acknowledged by a majority's journals."""


def connect() -> None:
    """Register the connection. No network: pymongo connects on first use."""
    mongoengine.connect(
        host=settings.MONGODB_URL,
        tz_aware=True,
        uuidRepresentation="standard",
        serverSelectionTimeoutMS=TIMEOUT_MS,
        connectTimeoutMS=TIMEOUT_MS,
        socketTimeoutMS=30_000,
        maxPoolSize=200,
        retryWrites=False,
        appname="sprayer",
    )


def database() -> Database[dict[str, Any]]:
    return mongoengine.get_db()  # type: ignore[no-any-return]


def remove_tenant(tenant: str, limit: int) -> int:
    """Remove up to `limit` documents of a tenant from each collection, whoever's it is; how many."""
    removed = 0
    for name in database().list_collection_names():
        if name.startswith("system."):
            continue
        collection = database().get_collection(name, write_concern=DURABLE)
        ids = [found["_id"] for found in collection.find({"tenant": tenant}, {"_id": 1}).limit(limit)]
        if ids:
            removed += collection.delete_many({"_id": {"$in": ids}}).deleted_count
    return removed


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Everything in MongoDB within this context, or within a function that it decorates, takes so long together.

    Raises pymongo's errors, also where the server is there and silent. What was asked for may be done nevertheless.
    """
    with pymongo.timeout(seconds):
        yield


@patience(TIMEOUT_MS / 1000)
def ping() -> None:
    """Raises a pymongo error when MongoDB is away."""
    database().command("ping")
