"""Failures of fibctl that are neither the document's nor the kernel's refusal of a change."""


class EnvironmentFailure(Exception):  # noqa: N818 - the word is the meaning
    """The system lacks something: privilege, interface, programs (exit code 3)."""


class StateFailure(Exception):  # noqa: N818
    """The kernel's state is not what it should be afterwards (exit code 1)."""
