"""Seccomp: Docker's effect in our own words (`default_profile`), and a compiler of OCI profiles to BPF (`compile_profile`)."""

from havre.runtime.seccomp.compiler import compile_profile, filter_flags
from havre.runtime.seccomp.profile import default_profile

__all__ = ["compile_profile", "default_profile", "filter_flags"]
