"""dockerd's options: for each flag its kind, the key it has in daemon.json, and what becomes of it here.

Sources: `dockerd --help` of 20.10 to 29, the daemon.json reference. --userns-auto-user and --log-budget are our own. Aliases of one letter are in SHORT.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from havre.errors import InvalidParameter

STRING, BOOLEAN, INTEGER, LIST, MAP = "string", "", "int", "list", "map"
NOTHING = "nothing"  # what it steers does not exist here, or is always on: one debug line
LATER = "later"  # it has a meaning that is not there yet, and nobody is less safe without: one warning
REFUSED = "refused"  # leaving it out would weaken what the caller asked for: an error


class Option(NamedTuple):
    """One of dockerd's options."""

    flag: str  # "" for a key that only daemon.json has
    kind: str
    key: str
    fate: str  # "" when it does here what it does there
    reason: str = ""


def _options() -> tuple[Option, ...]:
    found = []
    for line in _TABLE.strip().splitlines():
        words, _, reason = line.partition(" # ")
        flag, kind, key, *fate = words.split()
        kind = {"string": STRING, "bool": BOOLEAN, "int": INTEGER, "list": LIST, "map": MAP}[kind]
        flag = "" if flag == "-" else flag
        found.append(Option(flag, kind, flag if key == "=" else key, fate[0] if fate else "", reason))
    return tuple(found)


# flag, kind, key in daemon.json ("=": the same word), fate, reason
_TABLE = """
add-runtime                   map    runtimes
allow-direct-routing          bool   = nothing
allow-nondistributable-artifacts list = nothing
api-cors-header               string = later # no CORS headers are sent
authorization-plugin          list   authorization-plugins refused # authorization plugins are not there yet
bip                           string =
bip6                          string = later # the default bridge has IPv4 only
bridge                        string =
bridge-accept-fwmark          string = later # packets are judged without their mark
-                             map    builder nothing
cdi-spec-dir                  list   cdi-spec-dirs
cgroup-parent                 string =
-                             string cluster-advertise nothing
-                             string cluster-store nothing
-                             map    cluster-store-opts nothing
config-file                   string =
containerd                    string = nothing
containerd-namespace          string = nothing
containerd-plugins-namespace  string containerd-plugin-namespace nothing
cpu-rt-period                 int    = later # realtime periods are not there yet
cpu-rt-runtime                int    = later # realtime slices are not there yet
cri-containerd                bool   = nothing
data-root                     string =
debug                         bool   =
default-address-pool          list   default-address-pools
default-cgroupns-mode         string =
default-gateway               string = later # containers leave by the bridge's own address
default-gateway-v6            string = later # the default bridge has IPv4 only
default-ipc-mode              string =
default-network-opt           map    default-network-opts
default-runtime               string =
default-shm-size              string =
default-ulimit                map    default-ulimits
-                             string deprecated-key-path nothing
dns                           list   =
dns-opt                       list   dns-opts
dns-search                    list   =
exec-opt                      list   exec-opts nothing
exec-root                     string =
experimental                  bool   = nothing
feature                       map    features nothing
firewall-backend              string = nothing
fixed-cidr                    string =
fixed-cidr-v6                 string = later # the default bridge has IPv4 only
group                         string =
host                          list   hosts
host-gateway-ip               list   host-gateway-ips
-                             string host-gateway-ip
http-proxy                    string =
https-proxy                   string =
icc                           bool   =
init                          bool   =
init-path                     string = nothing
insecure-registry             list   insecure-registries
ip                            string =
ip-forward                    bool   =
ip-forward-no-drop            bool   = nothing
ip-masq                       bool   =
ip6tables                     bool   = nothing
iptables                      bool   = nothing
ipv6                          bool   = later # the default bridge has IPv4 only
label                         list   labels
live-restore                  bool   = nothing
log-budget                    string =
log-driver                    string =
log-format                    string =
log-level                     string =
log-opt                       map    log-opts
max-concurrent-downloads      int    =
max-concurrent-uploads        int    =
max-download-attempts         int    =
metrics-addr                  string = later # there are no metrics yet
-                             string min-api-version nothing
mtu                           int    =
network-control-plane-mtu     int    = nothing
-                             int    network-diagnostic-port nothing
no-new-privileges             bool   =
no-proxy                      string =
node-generic-resource         list   node-generic-resources nothing
-                             map    nri-opts nothing
oom-score-adjust              int    =
pidfile                       string =
-                             map    proxies
raw-logs                      bool   = nothing
registry-mirror               list   registry-mirrors
rootless                      bool   = refused # rootless mode is not there yet
seccomp-profile               string =
selinux-enabled               bool   = refused # SELinux labels are not there yet
shutdown-timeout              int    =
storage-driver                string =
storage-opt                   list   storage-opts nothing
swarm-default-advertise-addr  string = nothing
tls                           bool   =
tlscacert                     string =
tlscert                       string =
tlskey                        string =
tlsverify                     bool   =
userland-proxy                bool   = nothing
userland-proxy-path           string = nothing
userns-auto-user              string =
userns-remap                  string =
"""
OPTIONS = _options()
BY_FLAG: Mapping[str, Option] = {option.flag: option for option in OPTIONS if option.flag}
BY_KEY: Mapping[str, Option] = {option.key: option for option in OPTIONS}
SHORT = {
    "H": "host",
    "D": "debug",
    "G": "group",
    "l": "log-level",
    "b": "bridge",
    "p": "pidfile",
    "s": "storage-driver",
}
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def from_text(option: Option, text: str, shown: str) -> Any:
    """Return the value of a flag's text; `shown` is the flag as Docker's messages name it. Raises InvalidParameter."""
    if option.kind == BOOLEAN:
        if text not in _TRUE + _FALSE:
            raise _invalid(text, shown, "true or false is needed")
        return text in _TRUE
    if option.kind == INTEGER:
        if not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
            raise _invalid(text, shown, "a number is needed")
        return int(text)
    if option.kind == LIST:
        return [text]
    if option.kind == MAP:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise _invalid(text, shown, "NAME=VALUE is needed")
        return {name: _map_value(option.key, text, value, shown)}
    return text


def _map_value(key: str, text: str, value: str, shown: str) -> Any:
    if key == "runtimes":
        return {"path": value}
    if key == "default-ulimits":
        soft, _, hard = value.partition(":")
        return {"Soft": soft, "Hard": hard or soft}
    if key == "default-network-opts":
        option, equals, word = value.partition("=")
        if not equals:
            raise _invalid(text, shown, "DRIVER=OPTION=VALUE is needed")
        return {option: word}
    return value


def _invalid(text: str, shown: str, words: str) -> InvalidParameter:
    return InvalidParameter(f'invalid argument "{text}" for "{shown}" flag: {words}')


def check_kind(key: str, value: Any) -> None:
    """Refuse a value of daemon.json that has the wrong kind; null is as if it was not there. Raises InvalidParameter."""
    option = BY_KEY[key]
    if value is None or option.fate == NOTHING:
        return
    types: dict[str, tuple[type, str]] = {
        STRING: (str, "a text"),
        BOOLEAN: (bool, "true or false"),
        INTEGER: (int, "a number"),
        LIST: (list, "a list"),
        MAP: (dict, "an object"),
    }
    wanted, words = types[option.kind]
    number = isinstance(value, bool) and option.kind == INTEGER
    either = key == "default-shm-size" and isinstance(value, int)
    if (not isinstance(value, wanted) or number) and not either:
        raise InvalidParameter(f'"{key}" must be {words}')
    texts = option.kind == LIST and key != "default-address-pools"
    if texts and not all(isinstance(each, str) for each in value):
        raise InvalidParameter(f'"{key}" must be a list of texts')
