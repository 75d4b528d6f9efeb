"""Every error fabpilot raises on purpose.

An error says what happened, where, and what to do next; commands print it without a traceback.

```
FabpilotError
├── ConfigError              a setting, option or configuration file is wrong
├── DataError                something from outside cannot be used; streams send it to dead letters
│   ├── CodecError           bytes that are not the event they claim to be
│   │   ├── UnknownTypeError     a CloudEvents type nobody here knows
│   │   └── RecordTooLargeError  more bytes than a record may have
│   ├── WaferMapError        not a die grid
│   ├── TraceError           not a usable sensor trace
│   └── DatasetError         a data file that cannot be read
├── LogError                 the log (Kafka or embedded) failed
│   ├── LogUnavailableError  it cannot be reached now; trying again may help
│   ├── LogAccessError       it refuses us: who we are, or what we may do
│   └── FencedError          another member has taken over this one's work
│       └── ReplacedError        another process of our name has taken our place for good
├── ModelError               a model cannot be used
│   ├── ModelFileError       the file is damaged, incomplete or not one of ours
│   ├── RegistryError        the registry has no such model, or does not answer
│   └── DeviceError          the device asked for is not the device we would get
├── GuardRailError           an action outside the limits set for it
└── ConflictError            somebody else has decided in the meantime
```
"""

__all__ = [
    "CodecError",
    "ConfigError",
    "ConflictError",
    "DataError",
    "DatasetError",
    "DeviceError",
    "FabpilotError",
    "FencedError",
    "GuardRailError",
    "LogAccessError",
    "LogError",
    "LogUnavailableError",
    "ModelError",
    "ModelFileError",
    "RecordTooLargeError",
    "RegistryError",
    "ReplacedError",
    "TraceError",
    "UnknownTypeError",
    "WaferMapError",
]


class FabpilotError(Exception):
    """Base of everything fabpilot raises on purpose."""


class ConfigError(FabpilotError):
    """A setting, option or configuration file is wrong."""


class DataError(FabpilotError):
    """Something from outside cannot be used. Streams send it to dead letters and go on."""


class CodecError(DataError):
    """Bytes that are not the event they claim to be."""


class UnknownTypeError(CodecError):
    """A CloudEvents type nobody here knows."""


class RecordTooLargeError(CodecError):
    """More bytes than a record may have."""


class WaferMapError(DataError):
    """Not a die grid we can use."""


class TraceError(DataError):
    """Not a sensor trace we can use."""


class DatasetError(DataError):
    """A data file that cannot be read."""


class LogError(FabpilotError):
    """The log (Kafka or embedded) failed."""


class LogUnavailableError(LogError):
    """The log cannot be reached now; trying again may help."""


class LogAccessError(LogError):
    """The log refuses us: our password, its certificate, or a right that we lack."""


class FencedError(LogError):
    """Another member has taken over this one's work; what is in hand must be given up."""


class ReplacedError(FencedError):
    """Another process of our name has taken our place for good; this one must end."""


class ModelError(FabpilotError):
    """A model cannot be used."""


class ModelFileError(ModelError):
    """The model file is damaged, incomplete or not one of ours."""


class RegistryError(ModelError):
    """The registry has no such model or version, or does not answer."""


class DeviceError(ModelError):
    """The device asked for is not the device we would get."""


class GuardRailError(FabpilotError):
    """An action outside the limits set for it."""


class ConflictError(FabpilotError):
    """Somebody else has decided in the meantime; look again before deciding."""
