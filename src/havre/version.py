"""The versions Havre answers with. The newest Engine API it speaks and the oldest it still answers."""

VERSION = "0.1.0"
API_VERSION = "1.51"  # newest Engine API whose semantics are implemented here
MIN_API_VERSION = "1.24"  # Docker 29 broke Traefik and others by raising this; we never do
