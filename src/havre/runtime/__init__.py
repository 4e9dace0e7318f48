"""The OCI runtime: from a RunPlan to a process in its namespaces (runc's job), and the monitor that stays with it (the shim's).

In: a RunPlan and fds. Out: a pid, streams, an exit record, or the syscall that failed. `plan` and `seccomp` are pure and run in
the daemon; `zygote`, `monitor`, `init` and what they use are lean. Never: an image, a network decision, a record.
"""
