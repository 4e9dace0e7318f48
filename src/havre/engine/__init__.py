"""The use cases: one verb per file, functions over `Rooms`. Ask, decide, do.

In: decoded request bodies and names. Out: plain dicts in Engine API shape, sockets to pump, async iterators. `plan.py` and its
siblings are pure. Never: HTTP, a syscall, a global. State lives in `containers.Containers` and in the store.
"""
