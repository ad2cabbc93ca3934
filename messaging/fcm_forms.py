"""What a tenant configures for Android push.

A service account's document names URLs (token_uri, auth_uri, universe_domain). None of them is ever followed: a
tenant that could choose one would make this server send requests, signed ones, to any host it can reach. Both servers
are operator settings, SPRAYER_FCM_URL and SPRAYER_GOOGLE_OAUTH_URL; a document with another token_uri is refused.
"""

import json
import re
from typing import Any

from django import forms
from google.auth.crypt import RSASigner

from messaging.secret_fields import SecretText
from sprayer_project import json_text

TOKEN_URIS = ("https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token")
_project = r"^[a-z][a-z0-9.:-]{3,100}$"
_email = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+\.gserviceaccount\.com")
_KEPT = ("type", "project_id", "private_key_id", "private_key", "client_email")


class FcmConfig(forms.Form):
    service_account = forms.CharField(
        widget=SecretText(attrs={"rows": 6, "class": "mono", "spellcheck": "false"}),
        max_length=10_000,
        label="Service account",
        help_text="The JSON document of a service account that may send: Firebase console, project settings.",
    )
    project_id = forms.RegexField(
        _project, required=False, label="Project", help_text="Left empty, that of the service account."
    )

    def clean_service_account(self) -> str:
        """The document with nothing in it but what is used."""
        try:
            document = json_text.parse(self.cleaned_data["service_account"])
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}") from error
        if not isinstance(document, dict) or document.get("type") != "service_account":
            raise forms.ValidationError('This is not a service account: its "type" must be "service_account".')
        kept = {name: document[name] for name in _KEPT if isinstance(document.get(name), str)}
        if not re.match(_project, kept.get("project_id", "")) or not _email.fullmatch(kept.get("client_email", "")):
            raise forms.ValidationError("The service account must have its project_id and client_email.")
        if document.get("token_uri", TOKEN_URIS[0]) not in TOKEN_URIS:
            raise forms.ValidationError(f"The token_uri must be Google's: {TOKEN_URIS[0]}.")
        if document.get("universe_domain", "googleapis.com") != "googleapis.com":
            raise forms.ValidationError("The universe_domain must be googleapis.com.")
        try:
            RSASigner.from_service_account_info(kept)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError) as error:
            raise forms.ValidationError("The private_key must be an RSA key in PEM form.") from error
        return json.dumps(kept)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and not values.get("project_id"):
            values["project_id"] = json.loads(values["service_account"])["project_id"]
        return values
