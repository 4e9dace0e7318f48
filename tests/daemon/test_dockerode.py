"""dockerode's ordinary calls, unchanged: run, attach, exec, events, tty. Needs node and a dockerode that it finds (NODE_PATH)."""

import shutil
import subprocess

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
SCRIPT = r"""
const Docker = require("dockerode"), { PassThrough } = require("stream"), is = require("assert");
const docker = new Docker({ socketPath: process.argv[1] });
const all = (s) => new Promise((done, fail) => {
  const parts = []; s.on("data", (x) => parts.push(x)); s.on("end", () => done(Buffer.concat(parts))); s.on("error", fail);
});
const plain = (stream) => { const out = new PassThrough(); docker.modem.demuxStream(stream, out, out); stream.on("end", () => out.end()); return all(out); };

async function run() {
  const out = new PassThrough(), err = new PassThrough(); // the answer of wait may overtake the output: they come on two connections
  const said = new Promise((done) => out.on("data", done));
  const [result, one] = await docker.run("busybox", ["sh", "-c", "echo hi; exit 3"], [out, err], { Tty: false });
  is.equal(result.StatusCode, 3); is.equal(String(await said), "hi\n"); await one.remove();
}
async function typed() {
  const streams = { OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true };
  const one = await docker.createContainer({ Image: "busybox", Cmd: ["cat"], ...streams });
  const stream = await one.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const said = plain(stream); await one.start(); stream.write("typed\n"); stream.end(); await one.wait();
  is.equal(String(await said), "typed\n"); await one.remove();
}
async function execs() {
  const one = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "100"], Labels: { x: "y" } }); await one.start();
  for (let i = 0; i < 30; i++) {
    const exec = await one.exec({ Cmd: ["echo", String(i)], AttachStdout: true, AttachStderr: true });
    is.equal(String(await plain(await exec.start({ hijack: true, stdin: false }))), i + "\n");
    is.equal((await exec.inspect()).ExitCode, 0);
  }
  const exec = await one.exec({ Cmd: ["cat"], AttachStdin: true, AttachStdout: true });
  const stream = await exec.start({ hijack: true, stdin: true }), said = plain(stream);
  stream.write("q"); stream.end(); is.equal(String(await said), "q");
  is.equal((await docker.listContainers({ filters: { label: ["x=y"] } })).length, 1);
  is.ok((await one.stats({ stream: false })).memory_stats.usage > 0);
  const events = await docker.getEvents({ filters: { container: [one.id] } }), seen = [];
  const ended = new Promise((done) => events.on("data", (data) => String(data).split("\n").filter(Boolean).forEach((line) => {
    seen.push(JSON.parse(line).Action); if (seen.includes("stop")) done();
  })));
  await one.pause(); await one.unpause(); await one.stop({ t: 0 }); is.equal((await one.wait()).StatusCode, 137);
  await ended; events.destroy(); is.deepEqual(seen.filter((x) => x != "kill"), ["pause", "unpause", "die", "stop"]); await one.remove();
}
async function terminal() {
  const one = await docker.createContainer({ Image: "busybox", Cmd: ["sh", "-c", "read w; stty size; echo got $w"], Tty: true, OpenStdin: true });
  const stream = await one.attach({ stream: true, stdin: true, stdout: true, hijack: true }), said = all(stream);
  await one.start(); await one.resize({ h: 33, w: 77 }); stream.write("me\n"); await one.wait();
  const text = String(await said); is.ok(text.includes("33 77") && text.includes("got me"), text); await one.remove();
}
async function images() {
  await is.rejects(docker.getContainer("nope").inspect(), { statusCode: 404 });
  const image = docker.getImage("busybox"); is.ok((await image.inspect()).RootFS.Layers.length);
  is.ok((await all(await image.get())).length > 1000000); is.ok((await docker.listImages()).length);
  is.ok((await docker.info()).NCPU); is.ok((await docker.version()).ApiVersion); await docker.df();
}
({ run, typed, execs, terminal, images })[process.argv[2]]().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize("what", ["run", "typed", "execs", "terminal", "images"])
def test_dockerode_does(daemon, what: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    if subprocess.run([node, "-e", "require('dockerode')"], capture_output=True, check=False).returncode:
        pytest.skip("needs dockerode: npm install dockerode, and NODE_PATH")
    done = subprocess.run(
        [node, "-e", SCRIPT, daemon.socket, what], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
