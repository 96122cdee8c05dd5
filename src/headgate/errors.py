"""Everything headgate raises on purpose.

    HeadgateError
    ├── ScorerError          a scorer broke its contract: shape, NaN, a span outside its text
    ├── NotCalibratedError   an order was asked for a probability (also a ValueError)
    ├── LabelError           a label can't be judged by this scorer (also a ValueError)
    │   ├── LabelTooLongError    it leaves the text too little room
    │   └── UnknownLabelError    a closed vocabulary doesn't hold it
    ├── CheckpointError      a model's files are missing, damaged or ambiguous (also a ValueError)
    ├── StaleError           a certificate is of another model, or of other settings (also a ValueError)
    ├── TextTooLongError     a text that doesn't fit the model, where the caller asked for an error (also a ValueError)
    ├── DataError            a row to train on, evaluate or label is wrong (also a ValueError)
    ├── DeviceError          the device or dtype asked for is not to be had here
    ├── ClosedError          the scorer was closed, or came through a fork it can't survive
    ├── OverloadedError      more waits for the device than may wait
    └── MissingExtraError    an optional package is not installed (also an ImportError)

Plain ``ValueError`` and ``TypeError`` mean that a caller's argument is wrong.
"""


class HeadgateError(Exception):
    """The root of every error that headgate raises on purpose."""


class ScorerError(HeadgateError, RuntimeError):
    """A scorer returned something that is not a matrix of log-odds."""


class NotCalibratedError(HeadgateError, ValueError):
    """The scorer gives an order only; a threshold on it would mean nothing."""


class LabelError(HeadgateError, ValueError):
    """A label that this scorer can't judge."""


class LabelTooLongError(LabelError):
    """A label, query or hypothesis so long that the text beside it would hardly fit."""


class UnknownLabelError(LabelError):
    """A label outside the closed vocabulary of the scorer."""


class CheckpointError(HeadgateError, ValueError):
    """A model folder that is missing files, is damaged, or leaves something to guess."""


class StaleError(HeadgateError, ValueError):
    """A certificate met another model, or other settings, than it was made for."""


class TextTooLongError(HeadgateError, ValueError):
    """A text that does not fit the model in one piece, where ``on_overflow="error"``."""


class DataError(HeadgateError, ValueError):
    """A row to train on, evaluate or label that is wrong; the message says which."""


class DeviceError(HeadgateError, RuntimeError):
    """A device or dtype that this machine does not have."""


class ClosedError(HeadgateError, RuntimeError):
    """The scorer's model was released, or belongs to the process that this one was forked from."""


class OverloadedError(HeadgateError, RuntimeError):
    """Too much waits for a worker already; asking again later may work."""


class MissingExtraError(HeadgateError, ImportError):
    """An optional package is missing; the message ends in the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; run: pip install "headgate[{extra}]"')
