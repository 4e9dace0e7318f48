#!/bin/sh
# Installs Havre into a virtual environment of its own, puts `havre` and `havred` on PATH, and runs hello-world.
#   sudo sh install.sh [--prefix DIR] [--bin DIR] [--as-docker] [--no-systemd] [--no-run] [--uninstall]
set -eu

PREFIX=/opt/havre BIN=/usr/local/bin AS_DOCKER= SYSTEMD=yes RUN=yes UNINSTALL=
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) PREFIX=$2; shift ;;
    --prefix=*) PREFIX=${1#*=} ;;
    --bin) BIN=$2; shift ;;
    --bin=*) BIN=${1#*=} ;;
    --as-docker) AS_DOCKER=yes ;;
    --no-systemd) SYSTEMD= ;;
    --no-run) RUN= ;;
    --uninstall) UNINSTALL=yes ;;
    -h | --help) sed -n '2,3s/^# *//p' "$0"; exit 0 ;;
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
with_systemd() { [ -n "$SYSTEMD" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

if [ -n "$UNINSTALL" ]; then
    if with_systemd; then systemctl disable --now havred.socket havred.service 2>/dev/null || true; fi
    rm -f /etc/systemd/system/havred.service /etc/systemd/system/havred.socket
    for name in havre havred docker dockerd; do
        # only what this script wrote: its stubs name the prefix
        if [ -f "$BIN/$name" ] && grep -q "$PREFIX" "$BIN/$name" 2>/dev/null; then rm -f "$BIN/$name"; fi
    done
    rm -f /usr/share/bash-completion/completions/havre /usr/share/zsh/vendor-completions/_havre /usr/share/fish/vendor_completions.d/havre.fish
    # nor more of the prefix: it may be /usr/local
    rm -rf "$PREFIX/venv" "$PREFIX/venv.new"
    rm -f "$PREFIX/bin/havre" "$PREFIX/bin/havred" "$PREFIX/havre.bash" "$PREFIX/_havre" "$PREFIX/havre.fish" "$PREFIX/README.md"
    rmdir "$PREFIX/bin" "$PREFIX" 2>/dev/null || true
    say "removed; images and containers stay in /var/lib/havre"
    exit 0
fi

# --- a Python that is new enough, with venv (Debian splits ensurepip off)
PYTHON=
for name in ${PYTHON3:-} python3 python3.13 python3.12 python3.11; do
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
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv" ca-certificates >/dev/null
fi

# made beside an older installation, which stays whole when something fails
say "creating $PREFIX"
mkdir -p "$PREFIX" "$BIN"
"$PYTHON" -m venv --clear "$PREFIX/venv.new"
"$PREFIX/venv.new/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "$HERE" ||
    die "the packages could not be installed: a package index must be reachable, or wheels named by PIP_FIND_LINKS"
rm -rf "$PREFIX/venv"
mv "$PREFIX/venv.new" "$PREFIX/venv"
SITE=$("$PREFIX/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$PREFIX/venv/bin/python" -m compileall -q "$SITE" >/dev/null || true
REAL=$("$PREFIX/venv/bin/python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
[ -f "$HERE/README.md" ] && cp "$HERE/README.md" "$PREFIX/README.md"

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
mkdir -p "$PREFIX/bin"
stub "$PREFIX/bin/havre" havre.__main__ leave
stub "$PREFIX/bin/havred" havre.daemon.__main__ main
for name in havre havred; do stub "$BIN/$name" "$([ $name = havre ] && echo havre.__main__ || echo havre.daemon.__main__)" "$([ $name = havre ] && echo leave || echo main)"; done
if [ -n "$AS_DOCKER" ]; then
    for name in docker dockerd; do
        if [ -e "$BIN/$name" ] && ! grep -q "$PREFIX" "$BIN/$name" 2>/dev/null; then
            die "$BIN/$name is there already and is not ours: remove it first, or choose another --bin"
        fi
    done
    stub "$BIN/docker" havre.__main__ leave
    stub "$BIN/dockerd" havre.daemon.__main__ main
fi

# --- completions
"$BIN/havre" completion bash >"$PREFIX/havre.bash"
"$BIN/havre" completion zsh >"$PREFIX/_havre"
"$BIN/havre" completion fish >"$PREFIX/havre.fish"
for pair in havre.bash:/usr/share/bash-completion/completions/havre _havre:/usr/share/zsh/vendor-completions/_havre havre.fish:/usr/share/fish/vendor_completions.d/havre.fish; do
    place=${pair#*:}
    if [ -d "$(dirname "$place")" ]; then cp "$PREFIX/${pair%%:*}" "$place"; fi
done

# --- systemd, where it runs
if with_systemd; then
    group=$(getent group docker >/dev/null 2>&1 && echo docker || echo root)
    sed "s#@PREFIX@#$PREFIX#" "$HERE/packaging/havred.service" >/etc/systemd/system/havred.service
    sed "s#@GROUP@#$group#" "$HERE/packaging/havred.socket" >/etc/systemd/system/havred.socket
    systemctl daemon-reload
    systemctl enable --now havred.socket
    systemctl try-restart havred.service # an older one; its containers go on
    say "systemd starts havred when somebody asks for it (havred.socket)"
fi

say "installed: $("$BIN/havre" --version)"
if [ -n "$RUN" ]; then
    say "running: havre run --rm hello-world"
    "$BIN/havre" run --rm hello-world
fi
