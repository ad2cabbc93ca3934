"""What the OpenAPI document says about API keys. Found by drf-spectacular because tenants.api imports it."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The security scheme in the OpenAPI document."""

    target_class = "tenants.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "spr_live_... or spr_test_...",
            "description": "An API key of your tenant. Test keys reach the sandbox instead of the providers.",
        }
