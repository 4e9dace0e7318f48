"""Our own tar: a reader and an extractor that no archive can lead out of its directory, and a deterministic writer.

tarfile's extraction filters have been bypassed (CVE-2025-4517 and its kin); here every path is resolved by the kernel beneath the
directory (openat2), whatever the archive has put there before.
"""
