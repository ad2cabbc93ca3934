from django.apps import AppConfig


class MessagingConfig(AppConfig):
    name = "messaging"

    def ready(self) -> None:
        from messaging import channels
        from subscriptions import addresses

        for channel in channels.registry().values():
            addresses.register(channel)
