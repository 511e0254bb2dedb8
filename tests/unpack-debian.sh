#!/usr/bin/env bash
# unpack-debian.sh RELEASE DIRECTORY PACKAGE...
# Unpacks packages of a Debian release, with all that they depend on, into a directory: nothing is
# installed, no script of a package runs. The mirror is the one that this machine uses.
set -euo pipefail
release="$1" directory="$2"
shift 2

apt="$(mktemp -d)"
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$directory"
touch "$apt/status"
# shellcheck source=/dev/null
codename="$(source /etc/os-release && echo "$VERSION_CODENAME")"
mirror="$(apt-get update --print-uris | sed -n "s|^'\(.*\)/dists/$codename/InRelease'.*|\1|p" | head -n 1)"
[ -n "$mirror" ] || { echo "apt on this machine knows no mirror of Debian $codename" >&2 && exit 1; }
echo "deb $mirror $release main" >"$apt/sources.list"
options=(
    -qq -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
    -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=-
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false
)
apt-get "${options[@]}" update
apt-get "${options[@]}" install -y --no-install-recommends --download-only "$@"
# base-files comes first: /bin and /lib are its links, which other packages unpack through.
for package in "$apt"/cache/archives/base-files_*.deb "$apt"/cache/archives/*.deb; do
    [ ! -e "$package" ] || dpkg -x "$package" "$directory"
done
