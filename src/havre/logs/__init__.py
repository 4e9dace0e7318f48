"""What containers say: written by each container's monitor (`jsonfile`), read by the daemon (`reader`).

In: bytes of stdout and stderr. Out: Docker's json-file format on disk, and rows (stream, nanoseconds, line) again. It never decides what
is logged nor talks to a container. `jsonfile` is lean (it runs in the monitor); nothing here is imported by it.
"""
