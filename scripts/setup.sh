#!/usr/bin/env bash
# Installs what the build needs and is missing: OpenCV with its contrib
# modules, oneDNN, pkg-config and a C++ compiler, from Debian's or Ubuntu's
# packages. Installs nothing when all is there. Elsewhere it says what to
# install.
set -euo pipefail

packages=(g++ pkg-config libopencv-dev libopencv-contrib-dev libdnnl-dev)
go_needed=1.26

say() { echo "setup: $*" >&2; }

# preprocesses HEADER [FLAG...]: does the compiler find a header?
preprocesses() {
	local header=$1
	shift
	echo "#include <$header>" | g++ -E -x c++ "$@" - >/dev/null 2>&1
}

# missing prints the packages that have to be installed, one a line.
missing() {
	command -v g++ >/dev/null || echo g++
	command -v pkg-config >/dev/null || echo pkg-config
	if ! command -v g++ >/dev/null || ! command -v pkg-config >/dev/null; then
		printf '%s\n' libopencv-dev libopencv-contrib-dev libdnnl-dev # cannot be looked for yet
		return
	fi
	local flags
	if flags=$(pkg-config --cflags opencv4 2>/dev/null); then
		# shellcheck disable=SC2086
		preprocesses opencv2/aruco.hpp $flags || echo libopencv-contrib-dev
	else
		printf '%s\n' libopencv-dev libopencv-contrib-dev
	fi
	preprocesses dnnl.h || echo libdnnl-dev
}

check_go() {
	local have
	if ! command -v go >/dev/null; then
		say "Go is missing; install Go $go_needed or newer from https://go.dev/dl/"
		exit 1
	fi
	# In the project's folder, so that Go may fetch the version that go.mod asks for.
	have=$(cd "$(dirname "$0")/.." && go env GOVERSION)
	have=${have#go}
	if [ "$(printf '%s\n' "$go_needed" "$have" | sort -V | head -n 1)" != "$go_needed" ]; then
		say "Go $have is too old; install Go $go_needed or newer from https://go.dev/dl/"
		exit 1
	fi
}

install() {
	local root=()
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null; then
			say "run as root: apt-get install $*"
			exit 1
		fi
		root=(sudo)
	fi
	say "installing $*"
	"${root[@]}" apt-get update -qq
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
}

check_go
mapfile -t wanted < <(missing)
if [ ${#wanted[@]} -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	say "this is neither Debian nor Ubuntu; install these by hand, then run again:"
	say "  OpenCV 4.6 with contrib modules and headers (pkg-config must know opencv4)"
	say "  oneDNN 2.6 or newer of the 2 series with headers (dnnl.h)"
	say "  pkg-config and a C++17 compiler named g++"
	say "the packages on Debian are: ${packages[*]}"
	exit 1
fi
install "${wanted[@]}"
mapfile -t wanted < <(missing)
if [ ${#wanted[@]} -ne 0 ]; then
	say "still missing after the installation: ${wanted[*]}"
	exit 1
fi
