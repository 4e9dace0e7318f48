"""Plain values the rooms exchange: OCI image and runtime, Engine API, references, platforms, run plans.

In and out: nothing; there is no I/O here. Never: a side effect, a kernel number, a decision about the host.
"""
