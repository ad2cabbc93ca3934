from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging import channels
from sprayer_project.errors import SprayerError
from tenants import selectors, services

CHANNEL = "webpush"


class Command(BaseCommand):
    help = "Print the applicationServerKey to which a tenant's pages subscribe browsers. The first time, make the key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="the tenant")
        parser.add_argument("--subject", help="mailto: or https: contact for push services; by default an owner's mail")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["slug"]
        found = selectors.channel_config(slug, CHANNEL)
        try:
            values = found.values if found is not None else self._made(slug, options["subject"])
        except SprayerError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(values["public_key"])

    def _made(self, slug: str, subject: str | None) -> dict[str, Any]:
        form = channels.channel(CHANNEL).Config({"subject": subject or _owner(slug)})
        if not form.is_valid():
            raise CommandError("--subject: " + " ".join(map(str, form.errors["subject"])))
        services.set_channel_config(slug, CHANNEL, form.cleaned_data)
        self.stderr.write(f"A key for {slug} was made, with {form.cleaned_data['subject']} as the contact:")
        return form.cleaned_data


def _owner(slug: str) -> str:
    tenant = selectors.tenant_named(slug)
    emails = [member.user.email for member in selectors.members(tenant.slug) if member.role == "owner"]
    return f"mailto:{emails[0]}"
