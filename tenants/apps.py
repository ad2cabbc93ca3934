from django.apps import AppConfig

import sprayer_project.checks  # noqa: F401  (registers the system checks)


class TenantsConfig(AppConfig):
    name = "tenants"
