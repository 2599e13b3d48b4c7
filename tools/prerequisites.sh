# Sourced by tools/test, tools/demo and tools/bench: what they need of the machine.

# Says what is wrong and ends.
die() {
    echo "error: $*" >&2
    exit 1
}

require_root() {
    [[ $EUID -eq 0 ]] || die "network namespaces need root: run \`sudo $0\`"
}

# Installs the Debian packages of those commands that are missing, or of files by their whole path. Arguments: COMMAND:PACKAGE
install_missing() {
    local pair command missing=()
    for pair in "$@"; do
        command=${pair%%:*}
        [[ $command == /* && -e $command ]] || command -v "$command" > /dev/null || missing+=("${pair##*:}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get > /dev/null || die "these packages are missing, and there is no apt-get to install them: ${missing[*]}"
    [[ $EUID -eq 0 ]] || die "these packages are missing: ${missing[*]}; run \`sudo $0\`, or install them yourself"
    echo "Installing ${missing[*]} ..."
    # What is installed for a test must not begin to serve the machine.
    local policy=/usr/sbin/policy-rc.d made_policy=false
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' > $policy
        chmod 755 $policy
        made_policy=true
    fi
    local status=0
    { apt-get update -qq \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null; } \
        || status=$?
    if $made_policy; then rm -f $policy; fi
    [[ $status -eq 0 ]] || die "apt-get could not install ${missing[*]}"
    local package service
    for package in "${missing[@]}"; do
        case $package in
            nginx-light) service=nginx ;;
            openssh-server) service=ssh ;;
            frr | haproxy | keepalived | lldpd | openvswitch-switch | radvd | ndisc6 | prometheus) service=$package ;;
            bird2) service=bird ;;
            *) continue ;;
        esac
        if command -v systemctl > /dev/null; then systemctl --quiet disable "$service" 2> /dev/null || true; fi
    done
}

# Finds cargo, also that of the user who called sudo, and defines `as_builder`, which runs a command as that user, so that
# the build folder stays theirs.
find_cargo() {
    local home
    builder=""
    if [[ $EUID -eq 0 && -n ${SUDO_USER:-} && $SUDO_USER != root ]]; then
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        if [[ -x $home/.cargo/bin/cargo ]]; then
            builder=$SUDO_USER
            export CARGO_HOME=$home/.cargo RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup} PATH=$home/.cargo/bin:$PATH
        fi
    elif [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo > /dev/null || die "cargo was not found: install Rust $(rust_version) or newer, for example from https://rustup.rs"
    local have
    have=$(rustc --version | cut -d' ' -f2)
    if [[ $(printf '%s\n' "$(rust_version)" "$have" | sort -V | head -1) != "$(rust_version)" ]]; then
        die "Rust $have is too old: install $(rust_version) or newer, for example by \`rustup update\`"
    fi
}

rust_version() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml
}

as_builder() {
    if [[ -n $builder ]]; then
        runuser -u "$builder" -- "$@"
    else
        "$@"
    fi
}

# What the build needs.
BUILD_COMMANDS=(cc:gcc c++:g++ ld:binutils)
# What the daemons' fast path needs besides.
FAST_PATH_COMMANDS=(
    clang:clang /usr/include/bpf/bpf_helpers.h:libbpf-dev /usr/include/libelf.h:libelf-dev /usr/include/zlib.h:zlib1g-dev
)
