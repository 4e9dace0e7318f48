"""Images: content by digest, layers, snapshots, names, archives; pull and push.

In: bytes and names that are hostile until checked. Out: `Image` values and `Overlay` plans. `snapshots` mounts nothing.
Never: an HTTP request of its own (registry's), a container (engine's).
"""
