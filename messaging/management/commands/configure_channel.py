"""manage.py configure_channel SLUG CHANNEL [--set NAME=VALUE ...] [--off] [--anyway] [--show]"""

import getpass
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging import channel_forms, credentials
from messaging.channel_forms import ConfigForm
from messaging.channels import registry
from messaging.channels.base import Channel
from messaging.secret_fields import secret_fields
from sprayer_project.errors import SprayerError
from tenants import selectors, services


class Command(BaseCommand):
    help = (
        "Set a tenant's credentials of a channel and turn it on. A secret that it makes goes to standard output, once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="the tenant")
        parser.add_argument("channel", choices=registry())
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="repeatable; what is not named stays, an empty value is dropped, - reads it from standard input",
        )
        parser.add_argument("--off", action="store_true", help="turn it off; what is stored stays")
        parser.add_argument("--anyway", action="store_true", help="save also if the provider cannot be asked")
        parser.add_argument("--show", action="store_true", help="print what is stored, secrets masked; changes nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant, channel = options["slug"], registry()[options["channel"]]
        try:
            row = selectors.tenant_named(tenant)
            stored = selectors.channel_config(tenant, channel.name)
            if options["show"]:
                if options["set"] or options["off"] or options["anyway"]:
                    raise CommandError("--show changes nothing: use it alone.")
                self._show(tenant, channel)
                return
            form = _form(channel, dict(stored.values) if stored else {}, options["set"])
            if not options["off"]:
                _check(channel, form.values, options["anyway"])
            provider = channel_forms.provider_of(channel, form.values)
            services.set_channel_config(row, channel.name, form.values, not options["off"], provider)
        except SprayerError as error:
            raise CommandError(error.detail) from error
        self.stderr.write(f"{channel.name} of {tenant} is {'off' if options['off'] else 'on'}.")
        if made := form.made():
            self.stderr.write("Made, and shown this once:")
            for name, value in made.items():
                self.stdout.write(f"{name}={value}")

    def _show(self, tenant: str, channel: Channel) -> None:
        stored, secrets = selectors.channel_config(tenant, channel.name), secret_fields(channel.Config)
        self.stderr.write(f"{channel.name} of {tenant} is {channel_forms.state(tenant, channel).state}.")
        if stored and stored.refused_at:
            since = f"{stored.refused_at:%Y-%m-%d %H:%M} UTC"
            self.stderr.write(f"The provider refuses these credentials since {since}: {stored.refused_words}")
        for name, value in (stored.values if stored else {}).items():
            self.stdout.write(f"{name}={'********' if value and name in secrets else value}")


def _form(channel: Channel, stored: dict[str, Any], settings: Sequence[str]) -> ConfigForm:
    """The valid form. Raises CommandError with a line for each field that is wrong."""
    fields = channel.Config.base_fields
    given = {name: field.initial for name, field in fields.items() if field.initial is not None} | stored
    for setting in settings:
        name, found, value = setting.partition("=")
        if not found or name not in fields:
            known = f"NAME is one of {', '.join(fields)}" if fields else "this channel has nothing to set"
            raise CommandError(f"--set {name}: use NAME=VALUE; {known}.")
        given[name] = _read(name) if value == "-" else value
    # Every stored value is given again, so that an empty one is dropped and not kept.
    form = ConfigForm(channel, {}, given)
    if not form.is_valid():
        errors = form.form.errors.get_json_data()
        lines = [f"{name}: {error['message']}" for name, found in errors.items() for error in found]
        raise CommandError("\n".join(line.removeprefix("__all__: ") for line in lines))
    return form


def _check(channel: Channel, values: dict[str, Any], anyway: bool) -> None:
    """Raises CommandError with what the provider has against it."""
    doubt = credentials.doubt(channel, values)
    if doubt and (doubt.refused or not anyway):
        advice = "Nothing is saved." if doubt.refused else "Nothing is saved; --anyway saves it all the same."
        raise CommandError(f"{doubt.sentence} {advice}")


def _read(name: str) -> str:
    """One secret, out of sight of the list of processes."""
    return getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")
