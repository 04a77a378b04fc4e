"""The exception tree. What a caller should do is in the type, never in the text.

::

    TradewindError
    ├── SpecError            the user's mistake in a Dag, a setting or a form; known before anything runs
    ├── StoreError           the artifact store cannot be read or written
    ├── RuntimeUnavailable   a part that should answer does not (transient)
    │   └── Locked           another is at it
    ├── StepFailed           a step's process ended without success; carries its message and stack
    ├── ValidationFailed     the data breaks its expectations
    ├── GateFailed           the challenger may not be released
    ├── ApprovalRefused      no person let it be released, or their word holds no more
    └── RolloutAborted       the rollout stopped; what served before serves on

A message says what, expected against got, and where to look.
"""


class TradewindError(Exception):
    """Base of all errors raised by this package.

    ``retryable`` tells the operators whether the same call may succeed later with nothing changed by a person.
    """

    retryable = False


class SpecError(TradewindError):
    """A Dag, setting or form value is wrong."""


class StoreError(TradewindError):
    """The artifact store cannot be read or written: missing, corrupt, full or forbidden.

    Args:
        retryable: False where only a person's work helps: a wrong login, no such bucket.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class RuntimeUnavailable(TradewindError):
    """MLflow, the serving supervisor or the runtime does not answer."""

    retryable = True


class Locked(RuntimeUnavailable):
    """Another process holds what only one may have; says who."""


class StepFailed(TradewindError):
    """A step's process ended without success.

    Args:
        message: what went wrong, in the step's own words.
        stack: the remote traceback, or the last lines of its output where there is none.
        manifest_uri: where the failed try's manifest lies, if it wrote one.
        retryable: False where the same input must fail again (a missing column, a bad rule). Of exceptions that user code
            raises only an ``OSError`` is retried, and what MLflow raises there while it does not answer.
    """

    def __init__(self, message: str, *, stack: str = "", manifest_uri: str | None = None, retryable: bool = True) -> None:
        super().__init__(message)
        self.stack = stack
        self.manifest_uri = manifest_uri
        self.retryable = retryable


class ValidationFailed(TradewindError):
    """The data breaks a table rule, or more rows break row rules than the tolerance allows."""


class GateFailed(TradewindError):
    """The verdict on the challenger is FAILED or INCONCLUSIVE."""


class ApprovalRefused(TradewindError):
    """A person said no, nobody answered in time, or what was approved is not what there is now."""


class RolloutAborted(TradewindError):
    """The new version does not serve; the old one serves on."""


def told(error: BaseException) -> str:
    """What an error says; of one that says nothing, as some of a network's do, its name."""
    return str(error) or type(error).__name__


def named(name: str) -> type[TradewindError] | None:
    """The class of that name in this tree, or None: how an error is recognised after it travelled as JSON."""
    found = globals().get(name)
    return found if isinstance(found, type) and issubclass(found, TradewindError) else None
