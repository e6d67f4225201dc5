"""The errors that reach a user, each with the exit code of the command line.

    VnlsError                     1  something inside went wrong
    ├── UsageError                2  the request cannot be meant: options, output = input, existing output
    ├── InputError                3  input missing, unreadable, unsupported
    ├── OutputError               4  output not writable, disk full
    │   └── ReaderGoneError       4  nobody reads the output any more; said only to those who ask
    ├── DeviceError               5  no usable device
    │   ├── DeviceFaultError      5  the device failed during the work
    │   └── ExtensionError        5  compiled library missing or unloadable
    ├── MemoryLimitError          6  out of memory even at the smallest batch
    ├── DamagedInputError         7  finished, but the input was damaged or short
    ├── VerificationError         8  the finished file does not hold what it should
    ├── BatchError                9  some of several files failed
    └── ContinuableError         75  interrupted, and can be continued where it was

A message says what happened, why, and what to do next, in one line.
"""


class VnlsError(Exception):
    """Base of every error this package raises for a reason outside its own code."""

    exit_code = 1


class UsageError(VnlsError):
    """The request cannot be meant as given."""

    exit_code = 2


class InputError(VnlsError):
    """The input is missing, unreadable or unsupported."""

    exit_code = 3


class OutputError(VnlsError):
    """The output cannot be written."""

    exit_code = 4


class ReaderGoneError(OutputError):
    """Whoever read the output that goes through a pipe has ended."""


class DeviceError(VnlsError):
    """No usable device for the work."""

    exit_code = 5


class DeviceFaultError(DeviceError):
    """The device failed during the work; another process may go on with it."""


class ExtensionError(DeviceError, ImportError):
    """A compiled library is missing or does not load."""


class MemoryLimitError(VnlsError):
    """Out of memory even at the smallest batch."""

    exit_code = 6


class DamagedInputError(VnlsError):
    """The output is complete for what the input held, but the input was damaged or short."""

    exit_code = 7


class VerificationError(VnlsError):
    """The finished file does not hold what it should."""

    exit_code = 8


class BatchError(VnlsError):
    """Some of several files failed; the others are done."""

    exit_code = 9


class ContinuableError(VnlsError):
    """The run was interrupted; what is finished was kept, and the same call goes on from there."""

    exit_code = 75
