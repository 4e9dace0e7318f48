"""Volumes: directories of their own that outlive containers.

In: names, options, labels. Out: Volume values with the directory to mount. Never: a mount, a container (the engine counts who uses what, from
the containers' records, so that no count can go wrong).
"""
