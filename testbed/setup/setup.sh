#!/bin/sh
# Installs what the testbed needs on this host: Debian packages, then a Python environment from the
# lock file. What is there already is left alone, so that later runs take a fraction of a second.
# Works without root when nothing is missing; otherwise it says what is missing and what to do.
# With --test also what only tests need.
set -eu

for_tests=${1:-}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
venv=$root/.venv
stamp=$venv/.testbed-setup

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 3
}

wanted() {
    if [ "$for_tests" = --test ]; then cat "$here/packages-debian.txt"; else
        sed -e '/\[test\]/d' "$here/packages-debian.txt"
    fi | sed -e 's/#.*//' | tr -s ' \n' ' '
}

missing() {
    # shellcheck disable=SC2046  # a list of words
    present=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(wanted) 2>/dev/null |
        sed -n 's/ installed$//p')
    for package in $(wanted); do
        case "
$present
" in
        *"
$package
"*) ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

install_packages() {
    packages=$1
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        die "these packages are missing and we are not root: $packages" \
            "run: sudo apt-get install --no-install-recommends $packages"
    fi
    say "installing packages: $packages"
    log=$(mktemp)
    # shellcheck disable=SC2086  # both are lists of words
    if ! { $as_root apt-get update &&
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "apt-get failed (whole output: $log)" "mend what it says above and run this again"
    fi
    rm -f "$log"
}

set_up_packages() {
    if ! command -v dpkg-query >/dev/null; then
        die "this is no Debian system: install the equivalents of these yourself" \
            "$(wanted)" "then run: touch $stamp.packages (and this command again)"
    fi
    packages=$(missing)
    [ -z "$packages" ] || install_packages "$packages"
}

find_python() {
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$python"
            return
        fi
    done
    die "no Python 3.11 or newer was found" "install python3 and python3-venv"
}

set_up_python() {
    lock_hash=$(cat "$root/requirements.lock" "$root/pyproject.toml" "$here/setup.sh" | sha256sum | cut -d' ' -f1)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$lock_hash" ] && [ -x "$venv/bin/testbed" ]; then
        return
    fi
    say "making the Python environment in .venv"
    rm -f "$stamp"
    python=$(find_python)
    [ -x "$venv/bin/python" ] || "$python" -m venv --clear "$venv"
    log=$(mktemp)
    if ! {
        # The lock file holds uv as well: the same version installs itself and all others.
        grep -A 60 '^uv==' "$root/requirements.lock" | sed -n '1p;2,${/^[a-z]/q;p}' >"$log.uv" &&
            "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes -r "$log.uv" &&
            "$venv/bin/uv" pip sync --python "$venv/bin/python" --require-hashes "$root/requirements.lock" &&
            "$venv/bin/uv" pip install --python "$venv/bin/python" --no-deps --no-build-isolation --editable "$root"
    } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "the Python environment could not be made (whole output: $log)" \
            "check that the package index can be reached, then run this again"
    fi
    # Else each command compiles what it imports, where PYTHONDONTWRITEBYTECODE is set or a user may
    # not write here: a short one would take twice as long. What cannot be compiled is nobody's loss.
    "$venv/bin/python" -m compileall -q -j 0 "$venv/lib" "$root/testbed" >"$log" 2>&1 || :
    rm -f "$log" "$log.uv"
    printf '%s\n' "$lock_hash" >"$stamp"
}

if [ ! -e "$stamp.packages" ]; then set_up_packages; fi
set_up_python
if command -v testbed >/dev/null; then say "ready"; else
    say "ready; so that your shell finds \`testbed\`: PATH=\"$venv/bin:\$PATH\""
fi
