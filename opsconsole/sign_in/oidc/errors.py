"""Why single sign-on could not go on."""


class ProviderAway(Exception):
    """The provider did not answer in time, or not with what was asked for. The text is for the log."""


class ProviderBusy(ProviderAway):
    """Others wait for the provider already, and this says nothing of it."""


class BadAnswer(Exception):
    """The provider's answer is not one to be trusted. The text is for the log."""
