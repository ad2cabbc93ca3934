from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "messaging"

    def ready(self) -> None:
        from messaging import address_events, channels
        from subscriptions import addresses, changes

        changes.listen(address_events.note)
        for channel in channels.registry().values():
            addresses.register(channel)
