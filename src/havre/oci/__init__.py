"""`havre oci`: the runtime as a command with runc's grammar, on OCI bundles (runtime-spec 1.2 runtime.md, config.md).

In: command words, a bundle, fds. Out: a container whose state lies under --root, exit codes and error text as runc has them.
It builds containers by the same `runtime.spawn` as the daemon's monitor, and never talks to a daemon.
"""
