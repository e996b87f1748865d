#!/bin/sh
# Make sure that a program is installed: `tools/install.sh PACKAGE PROGRAM ...`.  Exit code 0: one of
# the PROGRAMs, names or paths, exists.  Otherwise, as root, the Debian package PACKAGE is installed
# with apt-get; a user who is not root gets one line that says what to do.  No service is started.
set -eu

POLICY=/usr/sbin/policy-rc.d
package=$1
shift

installed() {
    for program in "$@"; do
        if command -v "$program" >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

give_up() {
    echo "$package is missing and $1; install it by hand (Debian: apt-get install $package)." >&2
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

if installed "$@"; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then give_up "there is no apt-get here"; fi
if [ "$(id -u)" -ne 0 ]; then give_up "only root may install it"; fi

echo "Installing $package with apt-get ..."
log=$(mktemp)
forbidden=
trap tidy_up EXIT
trap 'exit 1' INT TERM
forbid_services
apt update || true # one broken source must not matter if the others have the package
if ! apt install --yes --no-install-recommends "$package"; then
    tail -n 20 "$log" >&2
    give_up "apt-get could not install it"
fi
installed "$@" || give_up "its package did not bring it"
