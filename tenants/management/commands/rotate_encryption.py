from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sprayer_project.errors import SprayerError
from tenants import encryption


class Command(BaseCommand):
    help = "Encrypt all stored secrets again with the first of SPRAYER_ENCRYPTION_KEYS: then the others can go."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = encryption.rotate_stored()
        except SprayerError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{count} configurations and second factors encrypted with the first key.")
