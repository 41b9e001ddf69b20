#!/usr/bin/env bash
# Makes launchd run orchestrator's API, scheduler and a runner for the user who calls it, on macOS, from a
# built checkout. Running it again brings everything up to date, keeps the settings and starts the services anew.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/install_launchd.sh [--program FILE] [--dry-run]
       scripts/install_launchd.sh --uninstall [--dry-run]

  --program FILE  the program to run [default: target/release/orchestrator]
  --dry-run       say what would be done, and do nothing
  --uninstall     stop the services and take their files away; settings, logs and data stay
TEXT
}

program=target/release/orchestrator dry=false uninstall=false
while [[ $# -gt 0 ]]; do
    case "$1" in
        --program) program=${2:?--program needs a FILE}; shift ;;
        --dry-run) dry=true ;;
        --uninstall) uninstall=true ;;
        -h|--help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
fail() { printf 'install_launchd: %s\n' "$1" >&2; exit 1; }
run() {
    printf '%s\n' "$*"
    $dry || "$@"
}

: "${HOME:?HOME is not set}"
[[ $(id -u) -ne 0 ]] || fail 'run it as the user whose agents and projects are to be used, not as root'
command -v launchctl >/dev/null || fail 'there is no launchctl: this is for macOS; on Linux use scripts/install.sh'

services=(api scheduler runner)
agents=$HOME/Library/LaunchAgents
data="$HOME/Library/Application Support/orchestrator"
logs=$HOME/Library/Logs/orchestrator
settings=$data/orchestrator.env
domain=gui/$(id -u)

loaded() { launchctl print "$domain/orchestrator.$1" >/dev/null 2>&1; }
# bootout answers before the service has ended, and until then it cannot be bootstrapped anew: a runner drains first.
stop() {
    loaded "$1" || return 0
    run launchctl bootout "$domain/orchestrator.$1" || true
    if $dry; then return 0; fi
    for _ in {1..120}; do
        loaded "$1" || return 0
        sleep 1
    done
    fail "orchestrator.$1 does not end; look at $logs/$1.log, then run this again"
}

if $uninstall; then
    for service in "${services[@]}"; do
        stop "$service"
        if [[ -e $agents/orchestrator.$service.plist ]]; then run rm "$agents/orchestrator.$service.plist"; fi
    done
    if [[ -e $data/bin ]]; then run rm -r "$data/bin"; fi
    printf 'kept: %s and %s\n' "$data" "$logs"
    exit 0
fi

[[ -x $program ]] || fail "$program is not there: cargo build --release --locked, or --program FILE"
run mkdir -p "$agents" "$data/bin" "$data/workspaces" "$data/artifacts" "$logs"
run chmod 700 "$data"
if ! cmp -s "$program" "$data/bin/orchestrator"; then
    # In one step, so that a running program keeps its file.
    run cp "$program" "$data/bin/orchestrator.new"
    run mv -f "$data/bin/orchestrator.new" "$data/bin/orchestrator"
fi
if [[ ! -e $settings ]]; then
    run cp deploy/orchestrator.env "$settings"
    run chmod 600 "$settings"
fi

# What XML, and sed's replacement, would take for their own.
escaped() { printf '%s' "$1" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/[\\|&]/\\&/g'; }
for service in "${services[@]}"; do
    plist=$agents/orchestrator.$service.plist
    printf 'write %s\n' "$plist"
    if ! $dry; then
        sed -e "s|@PROGRAM@|$(escaped "$data/bin/orchestrator")|g" -e "s|@ENV_FILE@|$(escaped "$settings")|g" \
            -e "s|@DATA@|$(escaped "$data")|g" -e "s|@LOGS@|$(escaped "$logs")|g" \
            "deploy/launchd/orchestrator.$service.plist" >"$plist.new"
        mv -f "$plist.new" "$plist"
    fi
    stop "$service"
    # One that was disabled once would not be started, and nobody would say why.
    run launchctl enable "$domain/orchestrator.$service"
    run launchctl bootstrap "$domain" "$plist"
done
if ! $dry; then cat <<TEXT

Settings: $settings
Logs:     $logs
After a change of the settings: launchctl kickstart -k $domain/orchestrator.api (and .scheduler, .runner)
Schema:   "$data/bin/orchestrator" --env-file "$settings" migrate
TEXT
fi
