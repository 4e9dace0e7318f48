"""Control groups: `layout` asks the host, `plan` decides (pure), `files` does. v1 or v2 is decided for each controller.

`files` is lean (it runs in the monitor); `layout` and `plan` run in the daemon.
"""
