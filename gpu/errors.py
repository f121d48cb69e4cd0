"""Every exception of this folder, as a tree.

EngineError            the engine could not answer; says whether asking again, here or elsewhere, may help
├── OutOfMemory        the batch did not fit into the device's memory; a smaller one may
├── ModelNotFound      no folder of that name anywhere; the message says where it was looked for and what to do
├── FrontEndFailed     no features could be made of audio: a fault of the device, never of the audio
└── ModelDamaged       a model's files are missing, cut short or not what was published; the message names the file

BadProfile             a file of measured costs is missing or holds something else

NotDecoded             a job left the devices without a hypothesis; says why
├── Superseded         a partial is not worth decoding any more: something newer of its channel came, or it waited long
├── JobCancelled       whoever asked no longer wants it
├── JobFailed          no device can decode this window
└── DeviceLost         the devices are shut down
"""

from __future__ import annotations


class EngineError(Exception):
    """The engine could not answer.

    Args:
        problem: What happened, where, and what to do; never holds what callers said.
        retryable: Whether the same windows may succeed when they are tried again.
    """

    def __init__(self, problem: str, *, retryable: bool = False) -> None:
        super().__init__(problem)
        self.retryable = retryable


class OutOfMemory(EngineError):
    """The device's memory did not hold the batch; a smaller one may fit."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, retryable=True)


class FrontEndFailed(EngineError):
    """A device's front end failed; the same windows may well succeed on another device."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, retryable=True)


class ModelNotFound(EngineError):
    """No model of that name was found."""


class ModelDamaged(EngineError):
    """A model was found, but its files cannot be used."""


class BadProfile(Exception):
    """A file of measured costs cannot be used."""


class NotDecoded(Exception):
    """A job left the devices without a hypothesis."""


class Superseded(NotDecoded):
    """A partial is not worth decoding any more."""


class JobCancelled(NotDecoded):
    """Whoever asked no longer wants the hypothesis."""


class JobFailed(NotDecoded):
    """No device can decode this window; the message says why."""


class DeviceLost(NotDecoded):
    """The devices are shut down."""
