"""The `havre` command: one file per group of docker commands. Lean until a command needs more.

In: words. Out: text, exit codes. It says one thing to the daemon through `client`. Never: a daemon's room.
"""
