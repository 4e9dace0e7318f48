"""login, logout, and the credentials of config.json and docker-credential-* helpers."""

import base64
import os
import subprocess
import sys

from havre.cli import options
from havre.client import minijson
from havre.errors import HavreError, InvalidParameter

LOGIN_USAGE = "[OPTIONS] [SERVER]"
LOGIN_FLAGS = {"password": "p:str", "password-stdin": ":bool", "username": "u:str"}
LOGOUT_USAGE = "[SERVER]"
HUB = "https://index.docker.io/v1/"
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def server_of(repository: str) -> str:
    """Return config.json's key of a repository's registry."""
    first, slash, _ = repository.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return HUB if not named or first in ("docker.io", "index.docker.io") else first


def header_for(context: "Context", repository: str) -> dict[str, str]:
    """Return X-Registry-Auth for a repository, {} when nothing is known."""
    server = server_of(repository)
    config = context.config
    helper = (config.get("credHelpers") or {}).get(server) or config.get("credsStore")
    found = _from_helper(helper, server) if helper else _from_file(config, server)
    if not found:
        return {}
    data = minijson.dumps({**found, "serveraddress": server}).encode()
    return {"X-Registry-Auth": base64.urlsafe_b64encode(data).decode()}


def _from_file(config: "dict[str, Any]", server: str) -> dict[str, str]:
    entry = (config.get("auths") or {}).get(server) or {}
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"]}
    if not entry.get("auth"):
        return {}
    try:
        username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except ValueError:
        raise HavreError(
            f"config.json: the auth of {server} is damaged", hint=f"havre login {server}"
        ) from None
    return {"username": username, "password": password}


def _from_helper(helper: str, server: str) -> dict[str, str]:
    """docker-credential-NAME get: the server on stdin, JSON on stdout."""
    done = _run_helper(helper, "get", server)
    if done.returncode != 0:
        return {}
    found = minijson.loads(done.stdout)
    if not isinstance(found, dict):
        return {}
    if found.get("Username") == "<token>":
        return {"identitytoken": str(found.get("Secret") or "")}
    return {"username": str(found.get("Username") or ""), "password": str(found.get("Secret") or "")}


def _run_helper(helper: str, verb: str, text: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(
            [f"docker-credential-{helper}", verb], input=text.encode(), capture_output=True, check=False
        )
    except FileNotFoundError:
        raise HavreError(
            f"docker-credential-{helper} is not installed", hint="credsStore in config.json"
        ) from None


def login(context: "Context", words: list[str]) -> int:
    """Check credentials with the daemon, then keep them (mode 0600, or in the credential helper)."""
    given, args = options.parse(words, LOGIN_FLAGS)
    options.need(args, 0, "login", 1)
    server = server_of(args[0] + "/x") if args else HUB
    if given["password_stdin"]:
        if not given["username"]:
            raise InvalidParameter("Must provide --username with --password-stdin")
        password = sys.stdin.read().rstrip("\r\n")
    else:
        password = given["password"] or ""
    username = given["username"] or _ask("Username: ")
    if not password:
        import getpass

        password = getpass.getpass("Password: ")
    body = {"username": username, "password": password, "serveraddress": server}
    answer = context.client.request("POST", "/auth", body).json()
    token = answer.get("IdentityToken") or ""
    _keep(context, server, username, password, token)
    print(answer.get("Status") or "Login Succeeded")
    return 0


def _ask(text: str) -> str:
    if not os.isatty(0):
        raise InvalidParameter(
            "cannot ask for a username: stdin is no terminal", hint="-u NAME --password-stdin"
        )
    return input(text)


def _keep(context: "Context", server: str, username: str, password: str, token: str) -> None:
    config = dict(context.config)
    helper = (config.get("credHelpers") or {}).get(server) or config.get("credsStore")
    auths = dict(config.get("auths") or {})
    if helper:
        entry = {
            "ServerURL": server,
            "Username": "<token>" if token else username,
            "Secret": token or password,
        }
        done = _run_helper(helper, "store", minijson.dumps(entry))
        if done.returncode != 0:
            raise HavreError(
                f"docker-credential-{helper} could not store: {done.stdout.decode(errors='replace').strip()}"
            )
        auths[server] = {}
    else:
        auths[server] = (
            {"identitytoken": token}
            if token
            else {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
        )
    context.write_config({**config, "auths": auths})


def logout(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 0, "logout", 1)
    server = server_of(args[0] + "/x") if args else HUB
    config = dict(context.config)
    auths = dict(config.get("auths") or {})
    helper = (config.get("credHelpers") or {}).get(server) or config.get("credsStore")
    if server not in auths and not helper:
        print(f"Not logged in to {server}")
        return 0
    print(f"Removing login credentials for {server}")
    if helper:
        _run_helper(helper, "erase", server)
    auths.pop(server, None)
    context.write_config({**config, "auths": auths})
    return 0
