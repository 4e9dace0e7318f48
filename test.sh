#!/bin/sh
# Makes .venv, installs what the tests need, then runs every check: ruff, mypy, import-linter, pytest.
#   sh test.sh [pytest arguments]        (as root: the kernel and daemon tests run too, else they are skipped)
set -eu
cd "$(dirname "$0")"

say() { echo "test.sh: $*"; }

# --- from Debian's packages: what the tests drive Havre with. Their daemons must not run here, not even after a reboot.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    missing=
    need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
    has_package() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }
    is_static() { [ -x /bin/busybox ] && ! ldd /bin/busybox 2>&1 | grep -q "=>"; }
    is_static || missing="$missing busybox-static"
    need docker DOCKER-CLI
    need docker-registry docker-registry
    need skopeo skopeo
    need nft nftables
    need ip iproute2
    need htpasswd apache2-utils
    need openssl openssl
    need runc runc
    need crun crun
    need curl curl
    need ps procps
    need mkfs.ext4 e2fsprogs
    need python3 python3-venv
    [ -f /usr/include/asm-generic/unistd.h ] || missing="$missing linux-libc-dev"
    if [ -n "$missing" ]; then
        apt-get update -qq || true
        # Debian 13 has the CLI alone; in Debian 12 and Ubuntu it comes with the daemon
        cli=$(has_package docker-cli && echo docker-cli || echo docker.io)
        missing=$(echo "$missing" | sed "s/DOCKER-CLI/$cli/")
        say "installing:$missing"
        units="docker.service docker.socket containerd.service docker-registry.service"
        new='' policy=''
        for unit in $units; do [ -e "/lib/systemd/system/$unit" ] || new="$new $unit"; done
        if [ ! -e /usr/sbin/policy-rc.d ]; then # policy-rc.d(8): packages start no daemons
            policy=ours
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
            trap 'exit 1' HUP INT TERM
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
            chmod 755 /usr/sbin/policy-rc.d
        fi
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
            say "some packages could not be installed; the tests that need them will be skipped and say so"
        for unit in $new; do
            if [ -e "/lib/systemd/system/$unit" ]; then systemctl disable --quiet "$unit" 2>/dev/null || true; fi
        done
        [ -z "$policy" ] || rm -f /usr/sbin/policy-rc.d
        trap - EXIT HUP INT TERM
    fi
fi

# --- our own environment
PYTHON=
for name in ${PYTHON3:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        PYTHON=$("$name" -c 'import sys; print(sys.executable)')
        break
    fi
done
[ -n "$PYTHON" ] || { echo "test.sh: Python 3.11 or newer is needed" >&2; exit 1; }
if ! "$PYTHON" -c 'import ensurepip' 2>/dev/null; then
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$(id -u)" = 0 ] || { echo "test.sh: $PYTHON has no venv module: sudo apt-get install python$version-venv" >&2; exit 1; }
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv" >/dev/null
fi
[ ! -d .venv ] || [ -w .venv ] || { echo "test.sh: .venv is another user's: sudo rm -r .venv, or sudo sh test.sh" >&2; exit 1; }
[ -x .venv/bin/python ] && .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || "$PYTHON" -m venv --clear .venv
wanted=$(cksum <pyproject.toml)
if [ "$(cat .venv/havre-has 2>/dev/null)" != "$wanted" ]; then # else what is there is right, and no network is needed
    say "installing Havre and its development tools into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
    echo "$wanted" >.venv/havre-has
fi

# --- the checks
say "ruff"
places=$(ls -d src tests bench 2>/dev/null)
.venv/bin/ruff check $places
.venv/bin/ruff format --check --quiet $places || { echo "test.sh: run .venv/bin/ruff format src tests bench" >&2; exit 1; }
say "mypy"
.venv/bin/mypy
say "import-linter"
found=$(.venv/bin/lint-imports 2>&1) || { echo "$found"; exit 1; }
say "pytest"
exec .venv/bin/python -m pytest "$@"
