"""The Engine API seen from outside: a small synchronous client. Lean: it is on the CLI's hot path (no json, socket, re, asyncio).

In: method, path, body. Out: responses, streams, hijacked connections. It drives havred and a real dockerd alike.
Never: a daemon's room.
"""
