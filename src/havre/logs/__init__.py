"""What containers say: written by each container's monitor (`open`), read by the daemon (`reader`), decided by `plan`.

In: bytes of stdout and stderr. Out: dockerd's json-file and local formats on disk, and rows (stream, nanoseconds, line) again. It never
decides whether something is logged nor talks to a container. What runs in the monitor is lean; nothing here is imported by it.
"""
