"""The text of a container's /etc/hosts and /etc/resolv.conf. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

# moby daemon/libnetwork/etchosts: the lines every container begins with
HOSTS_HEAD = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
FALLBACK_DNS = ("8.8.8.8", "8.8.4.4")  # what Docker uses when the host has only loopback servers


def hosts(
    *,
    hostname: str,
    domainname: str = "",
    addresses: Sequence[str] = (),
    extra: Iterable[tuple[str, str]] = (),
) -> str:
    """Return /etc/hosts: the usual head, --add-host entries as (name, address), then the container's own names."""
    lines = [f"{address}\t{names}" for address, names in HOSTS_HEAD]
    lines += [f"{address}\t{name}" for name, address in extra]
    own = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    if own:
        lines += [f"{address}\t{own}" for address in addresses]
    return "\n".join(lines) + "\n"


def resolv_conf(
    host_text: str, *, dns: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()
) -> str:
    """Return /etc/resolv.conf of a container on a network without our own DNS server.

    What is given replaces the host's; `search` of "." means none. Loopback servers of the host (systemd-resolved's
    127.0.0.53) mean nothing in a container and are left out, with FALLBACK_DNS when no other is left.
    """
    host = _parse(host_text)
    servers = list(dns) or [each for each in host["nameserver"] if not _loopback(each)] or list(FALLBACK_DNS)
    searched = list(search) or host["search"]
    wanted = list(options) or host["options"]
    lines = [f"nameserver {server}" for server in servers]
    if searched and searched != ["."]:
        lines.append("search " + " ".join(searched))
    if wanted:
        lines.append("options " + " ".join(wanted))
    return "\n".join(lines) + "\n"


def _parse(text: str) -> dict[str, list[str]]:
    """The words of resolv.conf(5) that matter; `domain` and `search` replace each other, the last one counts."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        key, values = words[0], words[1:]
        if key == "nameserver":
            found["nameserver"].append(values[0])
        elif key in ("search", "domain"):
            found["search"] = values
        elif key == "options":
            found["options"] += values
    return found


def _loopback(server: str) -> bool:
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True  # not an address: no resolver could use it
