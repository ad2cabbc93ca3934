"""manage.py ensure_indexes: MongoDB's collections and indexes. Idempotent; run it with every migrate."""

from typing import Any

from django.core.management.base import BaseCommand

from feedback.documents import DOCUMENTS as FEEDBACK
from messaging.documents import DOCUMENTS as MESSAGING
from subscriptions.documents import DOCUMENTS as SUBSCRIPTIONS


class Command(BaseCommand):
    help = "Create MongoDB's indexes."

    def handle(self, *args: Any, **options: Any) -> None:
        for document in (*SUBSCRIPTIONS, *FEEDBACK, *MESSAGING):
            document.ensure_indexes()
