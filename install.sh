#!/bin/sh
# Installs Havre into a virtual environment of its own, puts `havre` and `havred` on PATH, and runs hello-world.
#   sudo sh install.sh [--prefix DIR] [--bin DIR] [--as-docker] [--no-systemd] [--no-run]    (again: an upgrade)
#   sudo sh install.sh --uninstall [--purge]
set -eu
umask 022

PREFIX=/opt/havre BIN=/usr/local/bin AS_DOCKER='' SYSTEMD=yes RUN=yes UNINSTALL='' PURGE=''
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --bin) [ $# -gt 1 ] || { echo "install.sh: $1 needs a directory" >&2; exit 2; } ;;
    esac
    case $1 in
    --prefix) PREFIX=$2; shift ;;
    --prefix=*) PREFIX=${1#*=} ;;
    --bin) BIN=$2; shift ;;
    --bin=*) BIN=${1#*=} ;;
    --as-docker) AS_DOCKER=yes ;;
    --no-systemd) SYSTEMD='' ;;
    --no-run) RUN='' ;;
    --uninstall) UNINSTALL=yes ;;
    --purge) UNINSTALL=yes PURGE=yes ;;
    -h | --help) sed -n '2,4s/^# *//p' "$0"; exit 0 ;;
    *) echo "install.sh: unknown option: $1 (try --help)" >&2; exit 2 ;;
    esac
    shift
done

say() { echo "install.sh: $*"; }
die() { echo "install.sh: $*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || die "Havre needs Linux"
[ "$(id -u)" = 0 ] || die "must run as root: sudo sh install.sh"
HERE=$(cd "$(dirname "$0")" && pwd)
case $PREFIX in /*) ;; *) PREFIX=$(pwd)/$PREFIX ;; esac
case $BIN in /*) ;; *) BIN=$(pwd)/$BIN ;; esac
case $PREFIX$BIN in *[!A-Za-z0-9/._-]*) die "--prefix and --bin: only letters, digits and / . _ - ($PREFIX, $BIN)" ;; esac
UNITS=/etc/systemd/system SHARE=/usr/local/share FISH=/etc/fish/completions DATA=/var/lib/havre PIDFILE=/run/havre/havred.pid CONFIG=/etc/havre/daemon.json
with_systemd() { [ -n "$SYSTEMD" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }
is_ours() { [ -f "$1" ] && grep -q "written by Havre's install.sh for $PREFIX\$" "$1" 2>/dev/null; }

# a havred of this prefix that the CLI started, not systemd
stray_daemon() {
    pid=$(cat "$PIDFILE" 2>/dev/null) && [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$PREFIX/" && echo "$pid"
}
stop_stray_daemon() {
    pid=$(stray_daemon) || return 0
    say "stopping havred (pid $pid); containers go on"
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

if [ -n "$UNINSTALL" ]; then
    if [ -x "$PREFIX/bin/havre" ]; then
        running=$("$PREFIX/bin/havre" -H unix:///run/havre/havre.sock ps -q 2>/dev/null) || running=
        [ -z "$running" ] || die "containers are running; stop them first: havre stop \$(havre ps -q)"
    fi
    if with_systemd; then systemctl disable --now havred.socket havred.service 2>/dev/null || true; fi
    stop_stray_daemon
    # bridges, firewall table, control groups: what is only in the kernel
    if [ -x "$PREFIX/bin/havred" ]; then
        "$PREFIX/bin/havred" --teardown || die "nothing was removed"
    fi
    for unit in havred.service havred.socket; do
        if is_ours "$UNITS/$unit"; then rm -f "$UNITS/$unit"; fi
    done
    if with_systemd; then systemctl daemon-reload; fi
    for name in havre havred docker dockerd; do
        if is_ours "$BIN/$name"; then rm -f "$BIN/$name"; fi
    done
    for name in havre docker; do
        if is_ours "$SHARE/bash-completion/completions/$name"; then rm -f "$SHARE/bash-completion/completions/$name"; fi
        if is_ours "$SHARE/zsh/site-functions/_$name"; then rm -f "$SHARE/zsh/site-functions/_$name"; fi
        if is_ours "$FISH/$name.fish"; then rm -f "$FISH/$name.fish"; fi
    done
    if [ -f "$PREFIX/daemon.json" ] && cmp -s "$PREFIX/daemon.json" "$CONFIG"; then rm -f "$CONFIG"; fi
    rmdir /etc/havre "$FISH" /etc/fish 2>/dev/null || true
    # nor more of the prefix: it may be /usr/local
    rm -rf "$PREFIX/venv" "$PREFIX/venv.new"
    rm -f "$PREFIX/bin/havre" "$PREFIX/bin/havred" "$PREFIX/README.md" "$PREFIX/daemon.json"
    rmdir "$PREFIX/bin" "$PREFIX" 2>/dev/null || true
    if [ -n "$PURGE" ]; then
        rm -rf "$DATA" /run/havre /etc/havre
        say "removed, with all images, containers and settings"
    else
        say "removed; images and stopped containers stay in $DATA (--purge removes them too)"
    fi
    exit 0
fi

# --- a Python that is new enough, with venv (Debian splits ensurepip off)
PYTHON=
for name in ${PYTHON3:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        PYTHON=$("$name" -c 'import sys; print(sys.executable)')
        break
    fi
done
[ -n "$PYTHON" ] || die "Python 3.11 or newer is needed (Debian 12, Ubuntu 24.04 and newer have it): apt-get install python3"
if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    command -v apt-get >/dev/null 2>&1 || die "$PYTHON has no venv module: install it from your distribution"
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    say "installing python$version-venv"
    apt-get update -qq || say "the package lists could not be renewed; trying with those that are there"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv" ca-certificates >/dev/null ||
        die "python$version-venv could not be installed: apt-get install python$version-venv"
fi

# --- names that somebody else has are not taken
if [ -n "$AS_DOCKER" ]; then
    for name in docker dockerd; do
        if [ -e "$BIN/$name" ] && ! is_ours "$BIN/$name"; then
            die "$BIN/$name is there already and is not ours: remove it first, or choose another --bin"
        fi
    done
elif is_ours "$BIN/dockerd"; then
    AS_DOCKER=yes # an upgrade keeps what was asked for at first
fi

# --- built from a copy (root leaves nothing in the checkout), beside an older installation, which stays whole when something fails
say "creating $PREFIX"
mkdir -p "$PREFIX/bin" "$BIN"
COPY=$(mktemp -d)
trap 'rm -rf "$COPY" "$PREFIX/venv.new"' EXIT
trap 'exit 1' HUP INT TERM
cp -R "$HERE/pyproject.toml" "$HERE/README.md" "$HERE/LICENSE" "$HERE/src" "$COPY"
rm -rf "$COPY"/src/*.egg-info
"$PYTHON" -m venv --clear "$PREFIX/venv.new"
"$PREFIX/venv.new/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --root-user-action=ignore "$COPY" ||
    die "the packages could not be installed: a package index must be reachable, or wheels named by PIP_FIND_LINKS"
rm -rf "$PREFIX/venv"
mv "$PREFIX/venv.new" "$PREFIX/venv"
SITE=$("$PREFIX/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$PREFIX/venv/bin/python" -m compileall -q "$SITE" >/dev/null || true
REAL=$("$PREFIX/venv/bin/python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
cp "$HERE/README.md" "$PREFIX/README.md"

# --- stubs without site and environment (-IS): starting them costs a third of an ordinary console script
stub() { # path, module, function
    cat >"$1.new" <<STUB
#!$REAL -IS
# written by Havre's install.sh for $PREFIX
import sys
sys.path.append("$SITE")
from $2 import $3
if __name__ == "__main__":
    sys.exit($3())
STUB
    chmod 755 "$1.new"
    mv "$1.new" "$1"
}
for folder in "$PREFIX/bin" "$BIN"; do
    stub "$folder/havre" havre.__main__ leave
    stub "$folder/havred" havre.daemon.__main__ main
done
if [ -n "$AS_DOCKER" ]; then
    stub "$BIN/docker" havre.__main__ leave
    stub "$BIN/dockerd" havre.daemon.__main__ main
fi

# --- completions, where the three shells look for what is not from the distribution
completions() { # name of the program
    mkdir -p "$SHARE/bash-completion/completions" "$SHARE/zsh/site-functions" "$FISH"
    for place in "bash:$SHARE/bash-completion/completions/$1" "zsh:$SHARE/zsh/site-functions/_$1" "fish:$FISH/$1.fish"; do
        "$BIN/$1" completion "${place%%:*}" >"$COPY/completion"
        echo "# written by Havre's install.sh for $PREFIX" >>"$COPY/completion"
        cp "$COPY/completion" "${place#*:}"
    done
}
completions havre
[ -z "$AS_DOCKER" ] || completions docker

# --- who may use the socket without being root; nobody is in it at first, and whoever is, is as good as root
if ! getent group docker >/dev/null 2>&1; then groupadd --system docker 2>/dev/null || say "no group docker: only root may use the socket"; fi
group=$(getent group docker >/dev/null 2>&1 && echo docker || echo root)

# --- as docker: the socket that Docker's friends look for leads here too
if [ -n "$AS_DOCKER" ] && ! with_systemd; then
    printf '{"hosts": ["unix:///run/havre/havre.sock", "unix:///var/run/docker.sock"]}\n' >"$PREFIX/daemon.json"
    if [ ! -e "$CONFIG" ]; then
        mkdir -p "$(dirname "$CONFIG")"
        cp "$PREFIX/daemon.json" "$CONFIG"
    elif ! cmp -s "$PREFIX/daemon.json" "$CONFIG"; then
        say "$CONFIG is yours: add \"hosts\" as in $PREFIX/daemon.json for /var/run/docker.sock"
    fi
fi

# --- systemd, where it runs
unit() { # name, sed script
    { sed -e "s#@PREFIX@#$PREFIX#" -e "s#@GROUP@#$group#" -e "$2" "$HERE/packaging/$1"; echo "# written by Havre's install.sh for $PREFIX"; } >"$UNITS/$1.new"
    mv "$UNITS/$1.new" "$UNITS/$1"
}
stop_stray_daemon # the old code must not go on from files that are gone
if with_systemd; then
    link='/^Symlinks=/d'
    if [ -n "$AS_DOCKER" ]; then
        link=''
        if [ -e /run/docker.sock ] && [ ! -L /run/docker.sock ]; then
            say "/run/docker.sock is another daemon's and stays so"
            link='/^Symlinks=/d'
        fi
    fi
    unit havred.service ''
    unit havred.socket "$link"
    systemctl daemon-reload
    systemctl stop havred.service # an older one; its containers go on
    systemctl enable --quiet havred.socket havred.service
    systemctl restart havred.socket
    say "systemd starts havred at boot, and when somebody asks for it (havred.socket)"
fi

say "installed: $("$BIN/havre" --version)"
if [ -n "$RUN" ]; then
    say "running: havre run --rm hello-world"
    "$BIN/havre" run --rm hello-world
fi
