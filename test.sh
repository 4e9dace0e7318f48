#!/bin/sh
# Makes .venv, installs what the tests need, then runs every check: ruff, mypy, import-linter, pytest.
#   sh test.sh [pytest arguments]        (as root: the kernel and daemon tests run too, else they are skipped)
set -eu
cd "$(dirname "$0")"

say() { echo "test.sh: $*"; }

# --- from Debian's packages: what the tests drive Havre with
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    missing=
    need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
    need busybox busybox-static
    [ -x /bin/busybox ] && ! ldd /bin/busybox 2>&1 | grep -q "=>" || missing="$missing busybox-static"
    need docker docker.io
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
    need python3 python3-venv
    [ -f /usr/include/asm-generic/unistd.h ] || missing="$missing linux-libc-dev"
    if [ -n "$missing" ]; then
        say "installing:$missing"
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
            say "some packages could not be installed; the tests that need them will be skipped and say so"
    fi
fi

# --- our own environment
PYTHON=
for name in ${PYTHON3:-} python3 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        PYTHON=$("$name" -c 'import sys; print(sys.executable)')
        break
    fi
done
[ -n "$PYTHON" ] || { echo "test.sh: Python 3.11 or newer is needed" >&2; exit 1; }
if ! "$PYTHON" -c 'import ensurepip' 2>/dev/null && [ "$(id -u)" = 0 ]; then
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv" >/dev/null
fi
[ -x .venv/bin/python ] && .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || "$PYTHON" -m venv --clear .venv
say "installing Havre and its development tools into .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'

# --- the checks
say "ruff"
places=$(ls -d src tests bench 2>/dev/null)
.venv/bin/ruff check $places
.venv/bin/ruff format --check --quiet $places || { echo "test.sh: run .venv/bin/ruff format src tests bench" >&2; exit 1; }
say "mypy"
.venv/bin/mypy
say "import-linter"
.venv/bin/lint-imports >/tmp/havre-lint.$$ 2>&1 || { cat /tmp/havre-lint.$$; rm -f /tmp/havre-lint.$$; exit 1; }
rm -f /tmp/havre-lint.$$
say "pytest"
exec .venv/bin/python -m pytest "$@"
