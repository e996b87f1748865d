# Packages of Debian without installing them: sourced by `unpack_rabbitmq.sh` and `unpack_python.sh`.
#
# An apt with a state of its own, below the folder $work, downloads the packages.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/postage
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

give_up() {
    echo "$what $wanted cannot be unpacked here: $1." >&2
    exit 1
}

# Print the mirror in the sources of the system's apt, if they have one.
mirror_of_system() {
    cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
        sed -nE 's/^(URIs:|deb( \[[^]]*\])?) +([^ ]+).*/\3/p' | grep -E '/debian/?$' | head -n 1
}

# Run a program of apt on a state of our own.  The lists of a mirror that is a snapshot are old.
apt() {
    program=$1
    shift
    "$program" -qq -o Dir::State="$work/state" -o Dir::State::status="$work/state/status" \
        -o Dir::Cache="$work/cache" -o Dir::Etc::sourcelist="$work/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false \
        -o APT::Install-Recommends=false -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@"
}

# Make the suite $1 of $mirror the only source.
use_suite() {
    rm -rf "$work/state"
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
    : >"$work/state/status"
    echo "deb [signed-by=$keyring] $mirror $1 main" >"$work/sources.list"
    apt apt-get update >&2
}

# Unpack what was downloaded into the folder $1.
unpack_into() {
    mkdir -p "$1/usr/lib" "$1/usr/lib64" "$1/usr/bin" "$1/usr/sbin"
    for each in bin sbin lib lib64; do
        ln -s "usr/$each" "$1/$each"
    done
    for package in "$work"/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --no-same-owner \
            --keep-directory-symlink --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*'
    done
}

# Give up unless there are the programs $@ and the keys of Debian.
need() {
    for program in apt-get dpkg-deb "$@"; do
        command -v "$program" >/dev/null 2>&1 || give_up "the program $program is missing"
    done
    [ -e $keyring ] || give_up "$keyring is missing; install the package debian-archive-keyring"
}

# Make the folder $work, which ends with the script, and choose $mirror.
begin() {
    echo "Unpacking $what $wanted from Debian's packages ..."
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/unpacking-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM
    mirror=${MIRROR:-$(mirror_of_system)}
    mirror=${mirror:-http://deb.debian.org/debian}
}
