#!/bin/sh
# Unpack RabbitMQ VERSION, such as 4 or 4.3, from Debian's packages: `tools/unpack_rabbitmq.sh VERSION`.
#
# The folder is ${XDG_CACHE_HOME:-~/.cache}/postage/rabbitmq-X.Y.Z; all checkouts share it, and
# --postage-broker=rabbitmq-VERSION finds it.  It takes 10 s and 150 MB.  Nothing is installed: an apt with
# a state of its own downloads the packages, and no script of a package runs.
#
# The newest Debian has the newest RabbitMQ, built for a newer libc than this machine may have.  Each
# program therefore runs with the unpacked /usr in place of the system's: a bind mount in a mount
# namespace of the process, which ends with the process.  That works for root, and for other users if
# the kernel lets them make user namespaces; not in a container that forbids unshare(2).
#
# MIRROR: a mirror of Debian, by default the one that this machine's apt uses, or deb.debian.org.
set -eu
wanted=$1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/postage
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
suites="sid trixie bookworm" # 4.3, 4.0 and 3.10, in November 2026

give_up() {
    echo "RabbitMQ $wanted cannot be unpacked here: $1." >&2
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

# Make *suite* the source; print the version of RabbitMQ that it has.
version_in() {
    rm -rf "$work/state"
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
    : >"$work/state/status"
    echo "deb [signed-by=$keyring] $mirror $1 main" >"$work/sources.list"
    apt apt-get update >&2 || return 0
    apt apt-cache show --no-all-versions rabbitmq-server 2>/dev/null | sed -n 's/^Version: \([0-9.]*\).*/\1/p'
}

unpack() {
    root=$work/folder/root
    mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$work/folder/bin"
    for each in bin sbin lib lib64; do
        ln -s "usr/$each" "$root/$each"
    done
    for package in "$work"/cache/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --no-same-owner \
            --keep-directory-symlink --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*'
    done
    ln -sf dash "$root/usr/bin/sh" # as the script of the package dash would do
    ln -s root/usr/lib/rabbitmq/lib "$work/folder/lib"
    for program in "$root"/usr/lib/rabbitmq/bin/rabbitmq* "$root/usr/bin/epmd"; do
        wrap "${program##*/}" "${program#"$root"}"
    done
}

# Each step replaces the process, so its id and its signals are those of the program.
wrap() {
    cat >"$work/folder/bin/$1" <<END
#!/bin/sh
if [ "\$(id -u)" -eq 0 ]; then namespaces=--mount; else namespaces="--mount --user --map-root-user"; fi
exec unshare \$namespaces sh -c 'mount --rbind "\$0" /usr && exec "\$@"' "$folder/root/usr" $2 "\$@"
END
    chmod +x "$work/folder/bin/$1"
}

for folder in "$cache/rabbitmq-$wanted".* "$cache/rabbitmq-$wanted"; do
    if [ -e "$folder" ]; then exit 0; fi
done
for program in apt-get dpkg-deb unshare; do
    command -v $program >/dev/null 2>&1 || give_up "the program $program is missing"
done
[ -e $keyring ] || give_up "$keyring is missing; install the package debian-archive-keyring"
[ -L /lib ] || give_up "this system has folders /lib and /bin of its own beside /usr"

echo "Unpacking RabbitMQ $wanted from Debian's packages ..."
mkdir -p "$cache"
work=$(mktemp -d "$cache/unpacking-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mirror=${MIRROR:-$(mirror_of_system)}
mirror=${mirror:-http://deb.debian.org/debian}
found=
for suite in $suites; do
    version=$(version_in "$suite")
    case $version. in "$wanted".*) found=yes; break ;; esac
    echo "Debian $suite has ${version:-no RabbitMQ that can be read}." >&2
done
[ -n "$found" ] || give_up "no Debian at $mirror has it (MIRROR names another one)"
folder=$cache/rabbitmq-$version
# Besides what RabbitMQ depends on: programs that its scripts expect on every Debian system.
apt apt-get --download-only --yes install rabbitmq-server dash coreutils sed grep hostname >&2 ||
    give_up "the packages could not be downloaded"
unpack
mv -T "$work/folder" "$folder" 2>/dev/null || [ -e "$folder" ] # another process was faster
"$folder/bin/rabbitmqctl" --version >/dev/null || {
    rm -rf "$folder"
    give_up "its programs do not run; does this container forbid unshare(2)?"
}
