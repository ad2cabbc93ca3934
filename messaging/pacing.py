"""How fast and how often a tenant wants its channels to try, channel by channel."""

from django import forms

RATE_PERIODS = {"second": 1, "minute": 60, "hour": 3600}


class Pacing(forms.Form):
    """What a tenant may set on every channel beside the channel's Config; one mapping keeps the values of both."""

    MOST_DELAYS, LONGEST_DELAY = 20, 86_400

    retry_delays = forms.CharField(
        required=False,
        max_length=200,
        help_text="Seconds before attempt 2, 3 ..., as 5, 30, 600. Empty: the channel's.",
    )
    rate_limit = forms.RegexField(
        rf"^[1-9][0-9]{{0,5}}/({'|'.join(RATE_PERIODS)})$",
        required=False,
        help_text="The most that the provider takes, as 100/second. Empty: no limit.",
    )

    def clean_retry_delays(self) -> list[float]:
        """Empty for the channel's own schedule."""
        try:
            delays = [float(part) for part in self.cleaned_data["retry_delays"].replace(",", " ").split()]
        except ValueError as error:
            raise forms.ValidationError("Give seconds, as 5, 30, 600.") from error
        if len(delays) > self.MOST_DELAYS or not all(1 <= delay <= self.LONGEST_DELAY for delay in delays):
            raise forms.ValidationError(f"Give up to {self.MOST_DELAYS} delays of 1 to {self.LONGEST_DELAY} seconds.")
        return delays
