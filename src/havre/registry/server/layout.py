"""Where things lie below the root: docker-registry's own layout, so either program can serve the other's folder. Pure."""

from pathlib import Path

from havre.registry.server.names import Digest


class Layout:
    """Paths of blobs and of what refers to them."""

    def __init__(self, root: Path) -> None:
        self.root = root / "docker" / "registry" / "v2"
        self.repositories = self.root / "repositories"

    def blob(self, digest: Digest) -> Path:
        """A blob's bytes."""
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex / "data"

    def repository(self, name: str) -> Path:
        return self.repositories / name

    def layer(self, name: str, digest: Digest) -> Path:
        """That a repository has a blob."""
        return self.repository(name) / "_layers" / digest.algorithm / digest.hex / "link"

    def revision(self, name: str, digest: Digest) -> Path:
        """That a repository has a manifest."""
        return self.revisions(name) / digest.algorithm / digest.hex / "link"

    def revisions(self, name: str) -> Path:
        return self.repository(name) / "_manifests" / "revisions"

    def tags(self, name: str) -> Path:
        return self.repository(name) / "_manifests" / "tags"

    def tag(self, name: str, tag: str) -> Path:
        """Which manifest a tag names now."""
        return self.tags(name) / tag / "current" / "link"

    def tag_index(self, name: str, tag: str, digest: Digest) -> Path:
        """That a tag has named a manifest."""
        return self.tags(name) / tag / "index" / digest.algorithm / digest.hex / "link"

    def referrers(self, name: str, subject: Digest) -> Path:
        """What refers to a manifest by `subject`: ours, docker-registry has none."""
        return self.repository(name) / "_manifests" / "referrers" / subject.algorithm / subject.hex

    def upload(self, name: str, upload: str) -> Path:
        """An upload under way: `data` and `startedat`."""
        return self.uploads(name) / upload

    def uploads(self, name: str) -> Path:
        return self.repository(name) / "_uploads"
