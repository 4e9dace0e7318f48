"""havred: configuration, wiring, signals, zygote launch. The only place where rooms are built and handed to each other.

In: flags, daemon.json, signals. Out: listening sockets. Never: a use case (that is engine's), a route (that is api's).
Importing this package must cost nothing: `__main__` forks the zygote before anything else is imported.
"""
