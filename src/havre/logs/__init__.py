"""Container logs: the writer runs in the monitor (lean), the reader in the daemon (async).

In: chunks of output with a time. Out: lines. The file is Docker's json-file format, so other tools can read it. Never: a socket.
"""
