"""What every command is given: the global flags, decided."""

from dataclasses import dataclass

from havre.oci.report import Report

OCI_VERSION = "1.2.0"  # the newest runtime-spec we know


@dataclass(frozen=True, slots=True)
class Context:
    """The global flags of one call."""

    root: str
    report: Report
    config: str = ""  # name of the config file in the bundle; "" for config.json
