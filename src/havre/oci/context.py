"""What every command is given: the global flags, decided."""

from dataclasses import dataclass

from havre.oci.report import Report


@dataclass(frozen=True, slots=True)
class Context:
    """The global flags of one call."""

    root: str
    report: Report
    config: str = ""  # name of the config file in the bundle; "" for config.json
