"""System calls, netlink, nft and bpf wire formats: the only home of ctypes and of kernel numbers.

In: plain values. Out: fds, bytes, or KernelError(call, target, errno). Never: a decision about containers.
"""
