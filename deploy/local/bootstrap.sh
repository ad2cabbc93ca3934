#!/bin/sh
# Set up what `make run`, `make test` and `make bench` need: the virtual environment, RabbitMQ and, with the argument
# "test" or "bench", nginx with the module nchan, with "test" also Chromium. Does nothing when nothing is left to do.
# What cannot be installed is said in one message.
set -eu
cd "$(dirname "$0")/../.."

stamp=.venv/.sprayer-lock
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
policy_is_ours=
building=

cleanup() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$building" ] || rm -rf .venv
    [ -z "$policy_is_ours" ] || as_root rm -f "$policy"
    rm -f "$log"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s\n' "sprayer: $*"; }

# fail WHAT DEBIAN BREW: the one message; the end of the log of the step that failed, if any, comes before it.
fail() {
    [ ! -s "$log" ] || tail -n 15 "$log" >&2
    {
        echo
        echo "sprayer: $1"
        echo "  Debian, Ubuntu:  $2"
        echo "  macOS:           $3"
        echo "  Servers only:    docker compose -f deploy/compose.yaml up -d, then set SPRAYER_AMQP_URL,"
        echo "                   SPRAYER_REDIS_URLS and SPRAYER_MONGODB_URL as that file says (make run, not make test)"
    } >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1
}

# Installing a server must not start it: its ports may be somebody's, and ours is a private one.
deny_service_starts() {
    [ -d /usr/sbin ] && [ ! -e "$policy" ] || return 0
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

apt_install() {
    say "installing $* (apt-get)"
    deny_service_starts
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >"$log" 2>&1 &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >"$log" 2>&1
    outcome=$?
    if [ -n "$policy_is_ours" ]; then
        as_root rm -f "$policy"
        policy_is_ours=
    fi
    return "$outcome"
}

find_python() {
    for name in python3.11 python3.12 python3.13 python3 python3.14; do
        path=$(command -v "$name" 2>/dev/null) || continue
        if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

make_venv() {
    python=$(find_python) || {
        { can_install && apt_install python3 python3-venv && python=$(find_python); } ||
            fail "Python 3.11 or newer is missing." "apt install python3 python3-venv" "brew install python@3.11"
    }
    # Debian keeps what venv needs in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        { can_install && apt_install "python$version-venv" && "$python" -c 'import ensurepip, venv' 2>/dev/null; } ||
            fail "$python cannot make virtual environments." "apt install python$version-venv" "brew install python@$version"
    fi
    building=yes
    rm -rf .venv
    say "making .venv with $("$python" --version)"
    "$python" -m venv .venv >"$log" 2>&1 ||
        fail "The virtual environment could not be made." "apt install python3-venv" "brew install python@3.11"
}

lock_hash() {
    .venv/bin/python -c 'import hashlib; print(hashlib.sha256(open("requirements-dev.lock", "rb").read()).hexdigest())'
}

install_python_packages() {
    .venv/bin/python -c '' 2>/dev/null || make_venv
    lock=$(lock_hash)
    [ "$(cat "$stamp" 2>/dev/null || true)" != "$lock" ] || return 0
    say "installing the Python packages of requirements-dev.lock"
    # An interrupted installation starts over; one that a developer had keeps its place.
    rm -f "$stamp"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet --require-hashes \
        -r requirements-dev.lock >"$log" 2>&1 ||
        fail "The Python packages could not be installed: is there a package index within reach?" \
            "check the network, the proxy and pip's configuration" "check the network, the proxy and pip's configuration"
    echo "$lock" >"$stamp"
    building=
}

have_rabbitmq() {
    PATH="/usr/lib/rabbitmq/bin:/opt/homebrew/sbin:/usr/local/sbin:$PATH" command -v rabbitmq-server >/dev/null 2>&1
}

have_chromium() {
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
        command -v google-chrome >/dev/null 2>&1 || [ -d "/Applications/Google Chrome.app" ] ||
        [ -d /Applications/Chromium.app ]
}

# nginx, to which benchmarks compare, and its module: /usr/lib is Debian's place for it.
have_nginx() {
    PATH="/usr/sbin:/opt/homebrew/bin:/usr/local/sbin:/usr/local/bin:$PATH" command -v nginx >/dev/null 2>&1 &&
        { [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || [ -e /opt/homebrew/lib/nginx/modules/ngx_nchan_module.so ]; }
}

needs_rabbitmq() {
    { [ "$target" != run ] || [ -z "${SPRAYER_AMQP_URL:-}" ]; } && ! have_rabbitmq
}

needs_chromium() {
    [ "$target" = test ] && ! have_chromium
}

needs_nginx() {
    [ "$target" != run ] && ! have_nginx
}

install_debian_packages() {
    missing=
    ! needs_rabbitmq || missing="rabbitmq-server"
    ! needs_chromium || missing="$missing chromium"
    ! needs_nginx || missing="$missing nginx libnginx-mod-nchan"
    [ -n "$missing" ] || return 0
    # The list is words without blanks: splitting it is meant.
    # shellcheck disable=SC2086
    ! can_install || apt_install $missing || true
    ! needs_rabbitmq || fail "RabbitMQ is missing." "apt install rabbitmq-server" "brew install rabbitmq"
    ! needs_chromium ||
        fail "Chromium is missing: browser tests drive it." "apt install chromium" "brew install --cask chromium"
    ! needs_nginx ||
        fail "nginx with its module nchan is missing: benchmarks compare with it." \
            "apt install nginx libnginx-mod-nchan" "brew install nginx, and build nchan for it"
}

target=${1:-run}
install_debian_packages
install_python_packages
