"""What can keep the number of shards from being told."""


class AutoscalingError(Exception):
    """The root of this folder's errors."""


class BadAddress(AutoscalingError):
    """An address of metrics that cannot be one; the message says why."""


class NoAnswer(AutoscalingError):
    """Nobody who was asked knows how many shards there should be; the message says what each of them answered."""
