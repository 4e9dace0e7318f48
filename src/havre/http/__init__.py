"""HTTP/1.1 on asyncio: what the Engine API needs and general servers fail at (docs/design.md).

Hijack with half-close, heads flushed before the result exists, a handler cancelled when its client has gone, TLS that can half-close.
In: sockets and one async handler. Out: Request objects. Never: a route, an error's words beyond 400.
"""
