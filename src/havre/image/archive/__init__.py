"""Image archives: load (docker and OCI), save, and import of a root filesystem.

In: streams of any compression, hostile until checked; member names are only keys here, never paths. Out: images by `Images.register`,
all of an archive's at once. Never: a file outside the content store and its workspace.
"""
