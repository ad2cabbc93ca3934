"""How fast and how often a tenant wants its channels to try, channel by channel."""

from typing import Any

from django import forms

RATE_PERIODS = {"second": 1, "minute": 60, "hour": 3600}


MOST_DELAYS, LONGEST_DELAY = 20, 86_400


class DelaysField(forms.CharField):
    """A list of seconds, written as 5, 30, 600."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(f"{delay:g}" for delay in value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[float]:
        """Empty for the channel's own schedule."""
        text = super().clean(self.prepare_value(value))
        try:
            delays = [float(part) for part in text.replace(",", " ").split()]
        except ValueError as error:
            raise forms.ValidationError("Give seconds, as 5, 30, 600.") from error
        if len(delays) > MOST_DELAYS or not all(1 <= delay <= LONGEST_DELAY for delay in delays):
            raise forms.ValidationError(f"Give up to {MOST_DELAYS} delays of 1 to {LONGEST_DELAY} seconds.")
        return delays


class Pacing(forms.Form):
    """What a tenant may set on every channel beside the channel's Config; one mapping keeps the values of both."""

    retry_delays = DelaysField(
        required=False,
        max_length=200,
        help_text="Seconds before attempt 2, 3 ..., as 5, 30, 600. Empty: the channel's.",
    )
    rate_limit = forms.RegexField(
        rf"^[1-9][0-9]{{0,5}}/({'|'.join(RATE_PERIODS)})$",
        required=False,
        help_text="The most that the provider takes, as 100/second. Empty: no limit.",
    )
