"""How many blobs travel at once, and how often one is tried."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transfers:
    """Docker's defaults of --max-concurrent-downloads (for each pull), --max-concurrent-uploads and --max-download-attempts."""

    concurrent_downloads: int = 3
    concurrent_uploads: int = 5
    download_attempts: int = 5
