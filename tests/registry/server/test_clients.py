"""The server with clients nobody here wrote: skopeo; and docker-registry on the same folder."""

import json
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.compat


@pytest.fixture
def oci_layout(tmp_path):
    """A small OCI layout with one image."""
    import hashlib

    folder = tmp_path / "layout"
    (folder / "blobs/sha256").mkdir(parents=True)

    def blob(data: bytes, kind: str) -> dict:
        name = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / name).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(data)}

    layer = blob(b"\0" * 10240, "application/vnd.oci.image.layer.v1.tar")
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = blob(
        json.dumps({"os": "linux", "architecture": "amd64", "rootfs": rootfs}).encode(),
        "application/vnd.oci.image.config.v1+json",
    )
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = blob(
        json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}).encode(),
        kind,
    )
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return folder


def skopeo(*words: str) -> str:
    if not shutil.which("skopeo"):
        pytest.skip("needs skopeo")
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skopeo_pushes_copies_lists_pulls_and_deletes(serve, oci_layout, tmp_path) -> None:
    server = serve()
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    skopeo("copy", *plain, f"oci:{oci_layout}", f"docker://{server.name}/a/b:one")
    skopeo("copy", *plain, f"docker://{server.name}/a/b:one", f"docker://{server.name}/c:two")
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{server.name}/c"))
    assert listed["Tags"] == ["two"]
    skopeo("copy", *plain, f"docker://{server.name}/c:two", f"oci:{tmp_path}/back:x")
    assert json.loads((tmp_path / "back/index.json").read_text())["manifests"][0]["size"]
    skopeo("delete", "--tls-verify=false", f"docker://{server.name}/c:two")
    assert server.ask("GET", "/v2/c/manifests/two").status == 404


def test_docker_registry_serves_our_folder_and_we_serve_its(serve, oci_layout, tmp_path) -> None:
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("needs docker-registry")
    server = serve()
    skopeo("copy", "--dest-tls-verify=false", f"oci:{oci_layout}", f"docker://{server.name}/a:ours")
    theirs = serve()
    name = f"127.0.0.1:{theirs.port}"
    theirs.close()
    config = {**theirs.config, "storage": {"filesystem": {"rootdirectory": str(server.root / "data")}}}
    (tmp_path / "theirs.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        [program, "serve", str(tmp_path / "theirs.yml")], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr
        assert any("listening on" in line for line in process.stderr)
        skopeo("copy", "--src-tls-verify=false", f"docker://{name}/a:ours", f"oci:{tmp_path}/back:x")
        skopeo("copy", "--dest-tls-verify=false", f"oci:{oci_layout}", f"docker://{name}/b:theirs")
    finally:
        process.kill()
        process.wait(10)
        theirs.start()
    assert server.ask("GET", "/v2/b/manifests/theirs").status == 200
