from django.apps import AppConfig

import sprayer_project.checks  # noqa: F401  (registers the system checks)
from sprayer_project import mongo


class TenantsConfig(AppConfig):
    name = "tenants"

    def ready(self) -> None:
        mongo.connect()
