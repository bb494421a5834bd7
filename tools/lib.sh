# Shared by the scripts in tools/, which source it: messages, packages, the cache, temporary
# files. Nothing here prints to stdout except results.
#
# shellcheck shell=bash

shopt -s inherit_errexit

# shellcheck disable=SC2034  # used by the scripts
TOOLS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH+=:/usr/sbin:/sbin # where Debian has mke2fs, modprobe and others
CACHE_DIR=${VMM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vmm}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# die MESSAGE...: something went wrong. usage_error MESSAGE...: the caller asked wrongly.
die() {
    say "$*"
    exit 1
}

usage_error() {
    say "$* (see --help)"
    exit 2
}

# The comment block at the top of a script is its help.
show_help() {
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
}

# For scripts without options: --help, and a clear no to anything else.
no_options() {
    [[ $# -eq 0 ]] && return
    [[ $1 == --help ]] && show_help && exit 0
    usage_error "unknown argument: $1"
}

# need_value FLAG COUNT: FLAG is the first of COUNT remaining words and takes the next one.
need_value() {
    [[ $2 -ge 2 ]] || usage_error "$1 needs a value"
}

# quote WORD...: the exact words, for a shell to read.
quote() {
    printf "'%s' " "${@//\'/\'\\\'\'}"
}

# A temporary directory of this process in WORK, beside the cache so that mv is atomic, removed
# when the script ends in whatever way. Scripts add what else must be undone to CLEANUP, as
# function names.
CLEANUP=()

make_work_dir() {
    mkdir -p "$CACHE_DIR"
    WORK=$(mktemp -d "$CACHE_DIR/tmp.XXXXXXXX")
    trap run_cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

run_cleanup() {
    local f
    trap '' HUP INT TERM
    for f in ${CLEANUP[@]+"${CLEANUP[@]}"}; do
        "$f"
    done
    rm -rf "$WORK"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        die "must be root, or have sudo, to run: $*"
    fi
}

is_installed() {
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2> /dev/null) == installed ]]
}

# need_packages PACKAGE...: installs those Debian packages that are missing.
need_packages() {
    local p missing=()
    command -v dpkg-query > /dev/null || die "not a Debian system; please install: $*"
    for p; do
        is_installed "$p" || missing+=("$p")
    done
    [[ ${#missing[@]} -eq 0 ]] && return
    say "installing packages: ${missing[*]}"
    apt_known "${missing[@]}" || apt_update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=600 "${missing[@]}" >&2
}

# Where package_field and fetch_package look, and as whom; use_backports adds to it.
apt_options=(-o "APT::Sandbox::User=$(id -un)") apt_lists=/var/lib/apt/lists

# From now on packages come from Debian's backports, by this machine's own sources with the suite's
# name changed; its own lists stay as they are. Fails where there are none, with the reason in "why".
use_backports() {
    local release dir=$WORK/backports file
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mkdir -p "$dir/lists/partial"
    for file in /etc/apt/sources.list.d/*.sources; do
        # The paragraphs that name this very release; a second "Suites" would be another archive's.
        [[ ! -f $file ]] || awk -v RS= -v ORS='\n\n' -v r="$release" '
            match($0, "(^|\n)Suites:[^\n]* " r "-updates|(^|\n)Suites: " r "(\n|$| )")' "$file"
    done | sed "/^#/d; s/^Suites:.*/Suites: $release-backports/" > "$dir/debian.sources"
    sed -n "s/^\(deb [^#]*\) $release main.*/\1 $release-backports main/p" \
        /etc/apt/sources.list > "$dir/debian.list" 2> /dev/null || true
    file=$dir/debian.sources
    [[ -s $file ]] || file=$dir/debian.list
    # shellcheck disable=SC2034  # for the caller
    why="$release-backports cannot be reached"
    [[ -n $release && -s $file ]] || return
    apt_lists=$dir/lists
    apt_options+=(-o "Dir::State::Lists=$apt_lists" -o "Dir::Etc::SourceList=$file"
        -o Dir::Etc::SourceParts=/dev/null -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
        -o Acquire::Retries=0)
    apt-get update -q "${apt_options[@]}" > "$dir/log" 2>&1 && ! grep -q '^Err:' "$dir/log"
}

apt_known() {
    apt-cache "${apt_options[@]}" show --no-all-versions "$@" > /dev/null 2>&1
}

apt_update() {
    say "updating the package lists"
    as_root apt-get update -q >&2
}

# package_field PACKAGE FIELD: a field of the newest version that apt knows. Where apt keeps no
# cache of its own, an answer takes a second: so answers are kept while apt's lists stay the same.
package_field() {
    local entry
    entry=$(cached package "$(hash_of "$1" "$(stat -c '%n %Y' "$apt_lists" "$apt_lists"/*)")" \
        ask_apt "$1")
    sed -n "s/^$2: //p" "$entry/control"
}

ask_apt() {
    apt_known "$2" || apt_update
    apt-cache "${apt_options[@]}" show --no-all-versions "$2" > "$1/control"
}

# fetch_package PACKAGE: downloads PACKAGE_*.deb into WORK; nothing is installed.
fetch_package() {
    say "downloading $1"
    (cd "$WORK" && apt-get download -qq "${apt_options[@]}" "$1" >&2)
}

# hash_of WORD...: a cache key from words and the contents of files (words that start with @).
hash_of() {
    local w
    for w; do
        if [[ $w == @* ]]; then sha256sum < "${w#@}"; else printf '%s\n' "$w"; fi
    done | sha256sum | cut -c1-16
}

# cached KIND KEY BUILDER [ARG...]: prints the directory CACHE_DIR/KIND/KEY. If it is missing,
# BUILDER fills a directory, given as its first argument, which is then moved into place. Two
# processes never build the same thing twice: one waits for the other (the lock is on the KIND
# directory, so a builder must not ask for its own KIND).
cached() {
    local kind=$CACHE_DIR/$1 entry=$CACHE_DIR/$1/$2 lock
    shift 2
    if [[ ! -d $entry ]]; then
        mkdir -p "$kind"
        exec {lock}< "$kind"
        flock "$lock"
        if [[ ! -d $entry ]]; then
            rm -rf "$WORK/new"
            mkdir "$WORK/new"
            "$1" "$WORK/new" "${@:2}" >&2 || return
            mv -T "$WORK/new" "$entry"
        fi
        exec {lock}<&-
    fi
    printf '%s\n' "$entry"
}

# copy_modules KERNEL DIR MODULE...: copies modules of an unpacked kernel (tools/debian-kernel)
# and what they depend on into DIR, named so that sorting gives the order to load them in.
copy_modules() {
    local kernel=$1 dir=$2 version module path n=100
    version=$(ls "$kernel/lib/modules")
    shift 2
    for module; do
        modprobe -d "$kernel" -S "$version" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r path; do
        n=$((n + 1))
        case $path in
        *.xz) xz -dc "$path" > "$dir/$n-$(basename "$path" .xz)" ;;
        *) cp "$path" "$dir/$n-$(basename "$path")" ;;
        esac
    done
}

# copy_program FILE ROOT PATH: FILE as PATH below ROOT, with the shared libraries that it needs.
copy_program() {
    local lib
    mkdir -p "$2$(dirname "$3")"
    cp "$1" "$2$3"
    libraries_of "$1" | while read -r lib; do
        mkdir -p "$2$(dirname "$lib")"
        cp -n "$lib" "$2$lib"
    done
}

# The shared libraries of a file, and the loader; none if it is no program or a static one. And those
# that our program loads if a run needs them (base/lib.h), of which it has only the names.
libraries_of() {
    local name path
    linked_to "$1"
    { grep -aoE 'lib(slirp|microhttpd)\.so\.[0-9]+' "$1" || true; } | sort -u | while read -r name; do
        path=$(gcc -print-file-name="$name")
        [[ $path != /* ]] || { realpath -s "$path" && linked_to "$path"; }
    done
}

linked_to() {
    { ldd "$1" 2> /dev/null || true; } | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p'
}

# make_cpio DIR FILE: an uncompressed initramfs (to unpack is slower than to read, under
# emulation) in which everything belongs to root.
make_cpio() {
    find "$1" -exec touch -h -d @1 {} +
    (cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) > "$2"
}

# What the build needs, without the tests.
# shellcheck disable=SC2034  # used by the scripts
BUILD_PACKAGES=(cmake gcc libc6-dev libfdt-dev libjansson-dev libmicrohttpd-dev libslirp-dev
    liburing-dev libseccomp-dev ninja-build pkg-config systemtap-sdt-dev)

# build_dir PRESET: where CMakePresets.json has its build.
build_dir() {
    if [[ $1 == release ]]; then echo "${TOOLS_DIR%/*}/build"; else echo "${TOOLS_DIR%/*}/build/$1"; fi
}

# build_preset PRESET [-DNAME=VALUE]... [-- TARGET...]: configures, where that was not done or must
# be done differently, and builds. One at a time for each directory.
build_preset() {
    local preset=$1 dir lock word settings=() flags=()
    dir=$(build_dir "$preset")
    shift
    while [[ $# -gt 0 && $1 != -- ]]; do
        settings+=("$1")
        shift
    done
    mkdir -p "$dir"
    exec {lock}< "$dir"
    flock "$lock"
    for word in "$dir/build.ninja" ${settings[@]+"${settings[@]}"}; do
        if [[ $word == -D* ]]; then word=${word#-D} && word=${word/=/:*=}; fi
        [[ -f $word ]] || grep -qsx "$word" "$dir/CMakeCache.txt" || {
            say "configuring $preset"
            (cd "$TOOLS_DIR/.." && cmake --preset "$preset" ${settings[@]+"${settings[@]}"}) \
                > "$WORK/configure.log" 2>&1 || { cat "$WORK/configure.log" >&2 && return 1; }
            break
        }
    done
    if [[ $(ninja -C "$dir" -n "${@:2}") != *"no work to do"* ]]; then
        say "building $preset"
        [[ -t 2 ]] || flags=(--quiet)
        ninja -C "$dir" ${flags[@]+"${flags[@]}"} "${@:2}" >&2 || return
    fi
    exec {lock}<&-
}
