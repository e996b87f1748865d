#!/bin/sh
# Make sure that the programs of RabbitMQ are on this machine.  Exit code 0 means they are.
# Where they are missing they are installed with apt-get, as root only; otherwise one line says
# what to do.  The system's own node is never started: tests and demos start private ones.
set -eu

PACKAGE=rabbitmq-server
POLICY=/usr/sbin/policy-rc.d

installed() {
    [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null 2>&1
}

give_up() {
    echo "RabbitMQ is missing and $1; install it by hand (Debian: apt-get install $PACKAGE)." >&2
    exit 1
}

# Debian starts a service when its package is installed, unless this file forbids it.
forbid_services() {
    if [ ! -e "$POLICY" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$POLICY"
        chmod +x "$POLICY"
        forbidden=yes
    fi
}

tidy_up() {
    rm -f "$log"
    if [ -n "$forbidden" ]; then rm -f "$POLICY"; fi
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=60 "$@" >>"$log" 2>&1
}

if installed; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then give_up "there is no apt-get here"; fi
if [ "$(id -u)" -ne 0 ]; then give_up "only root may install it"; fi

echo "Installing $PACKAGE with apt-get ..."
log=$(mktemp)
forbidden=
trap tidy_up EXIT
trap 'exit 1' INT TERM
forbid_services
apt update || true # one broken source must not matter if the others have the package
if ! apt install --yes --no-install-recommends "$PACKAGE"; then
    tail -n 20 "$log" >&2
    give_up "apt-get could not install it"
fi
installed || give_up "its package did not bring it"
