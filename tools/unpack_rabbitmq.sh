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
what=RabbitMQ wanted=$1
. "$(dirname "$0")/debian_packages.sh"
suites="sid trixie bookworm" # 4.3, 4.0 and 3.10, in November 2026

# Print the version of RabbitMQ in the suite $1.
version_in() {
    use_suite "$1" || return 0
    apt apt-cache show --no-all-versions rabbitmq-server 2>/dev/null | sed -n 's/^Version: \([0-9.]*\).*/\1/p'
}

unpack() {
    root=$work/folder/root
    unpack_into "$root"
    mkdir -p "$work/folder/bin"
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
need unshare
[ -L /lib ] || give_up "this system has folders /lib and /bin of its own beside /usr"
begin
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
