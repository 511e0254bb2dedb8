#!/usr/bin/env bash
# base-image.sh FILE
# Writes a root file system that stands in for python:3.13-slim, as a tar archive: the same release
# of Debian and Python 3.13 with pip, from the mirror of this machine. Needs root, for the owners.
set -euo pipefail
target="$1"
root="$(mktemp -d)"
trap 'rm -rf "$root" "$target.half"' EXIT

"$(dirname "${BASH_SOURCE[0]}")/unpack-debian.sh" trixie "$root" \
    base-files base-passwd bash coreutils dash findutils grep hostname libc-bin python3-pip sed tar
# What the packages' scripts would have done
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
chmod 755 "$root"
# As in the image that it stands in for: Python is in /usr/local, and pip may install
rm "$root"/usr/lib/python3.13/EXTERNALLY-MANAGED
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs"
ln -s /usr/bin/python3.13 "$root/usr/local/bin/python3.13"
ln -s python3.13 "$root/usr/local/bin/python"
rm -rf "$root"/usr/share/{doc,info,locale,man}
# The certificates that this machine trusts, so that the build reaches the package index as it does
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
tar --create --file "$target.half" --directory "$root" .
mv "$target.half" "$target"
