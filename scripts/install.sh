#!/usr/bin/env bash
# Installs orchestrator's services on a Linux host with systemd, from a built checkout: program, user,
# directories, units, settings, log rotation. Running it again brings everything up to date and keeps the
# settings; it starts nothing, and restarts nothing that runs. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/install.sh [--program FILE] [--root DIR] [--dry-run]
       scripts/install.sh --uninstall [--purge] [--root DIR] [--dry-run]

  --program FILE  the program to install [default: target/release/orchestrator]
  --root DIR      install below DIR, and neither ask nor tell the running system anything
  --dry-run       say what would be done, and do nothing
  --uninstall     stop the services and take away what was installed; settings and data stay
  --purge         with --uninstall: settings, workspaces and artifacts as well
TEXT
}

program=target/release/orchestrator root='' dry=false uninstall=false purge=false
while [[ $# -gt 0 ]]; do
    case "$1" in
        --program) program=${2:?--program needs a FILE}; shift ;;
        --root) root=${2:?--root needs a DIR}; shift ;;
        --dry-run) dry=true ;;
        --uninstall) uninstall=true ;;
        --purge) purge=true ;;
        -h|--help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done
fail() { printf 'install: %s\n' "$1" >&2; exit 1; }
if $purge && ! $uninstall; then fail '--purge goes with --uninstall'; fi

prefix=/opt/multi-agent-cli-orchestrator
config=/etc/multi-agent-orchestrator
settings=$config/orchestrator.env
units=(orchestrator-api.service orchestrator-runner.service orchestrator-runner@.service
       orchestrator-scheduler.service orchestrator.target system-orchestrator.slice)

# what is done, said; with --dry-run only said
run() {
    printf '%s\n' "$*"
    $dry || "$@"
}
# the same for what concerns the running system, which an installation below another root leaves alone
run_here() { if [[ -z $root ]]; then run "$@"; fi; }
# put MODE SOURCE TARGET: replaces in one step, so that a running program keeps its file
put() {
    if [[ -f $root$3 ]] && cmp --silent "$2" "$root$3" && [[ $(stat -c %a "$root$3") == "$1" ]]; then return; fi
    printf 'install %s %s\n' "$1" "$root$3"
    if $dry; then return; fi
    mkdir -p "$(dirname "$root$3")"
    install -m "$1" "$2" "$root$3.new"
    mv -f "$root$3.new" "$root$3"
}
link() {
    if [[ $(readlink "$root$2" || true) == "$1" ]]; then return; fi
    run mkdir -p "$(dirname "$root$2")"
    run ln -sfn "$1" "$root$2"
}
take() {
    local path
    for path in "$@"; do
        if [[ -e $root$path || -L $root$path ]]; then run rm -rf "$root$path"; fi
    done
}

if [[ -z $root ]] && ! $dry; then
    [[ $(id -u) -eq 0 ]] || fail 'needs root: sudo scripts/install.sh (or --dry-run to see what it does)'
    [[ -d /run/systemd/system ]] || fail 'this host does not run systemd; with --root DIR the files are laid out all the same'
fi

if $uninstall; then
    if [[ -z $root ]] && [[ -d /run/systemd/system ]]; then
        # Instances of the pool as well; runners drain first, which takes as long as RUNNER_DRAIN_SEC.
        run systemctl disable --now orchestrator.target orchestrator-api.service orchestrator-scheduler.service orchestrator-runner.service || true
        run systemctl stop 'orchestrator-runner@*.service'
        run rm -f /etc/systemd/system/{multi-user.target,orchestrator.target}.wants/orchestrator-runner@*.service
    fi
    take "${units[@]/#//etc/systemd/system/}" /etc/sysusers.d/orchestrator.conf /etc/tmpfiles.d/orchestrator.conf \
        /etc/logrotate.d/orchestrator /usr/local/bin/orchestrator /usr/local/sbin/orchestratorctl \
        /usr/local/share/bash-completion/completions/orchestrator \
        /usr/local/share/man/man1/orchestrator.1 /usr/local/share/man/man8/orchestratorctl.8 "$prefix"
    if [[ -d /run/systemd/system ]]; then run_here systemctl daemon-reload; fi
    if $purge; then
        take "$config" /var/lib/orchestrator /var/log/orchestrator
    elif [[ -d $root$config ]]; then
        printf 'kept: %s, /var/lib/orchestrator (--purge takes them away too)\n' "$settings"
    fi
    printf 'the user orchestrator and the database are left as they are\n'
    exit 0
fi

[[ -x $program ]] || fail "$program is not there: cargo build --release --locked, or --program FILE"

put 755 "$program" "$prefix/bin/orchestrator"
put 755 deploy/backoff "$prefix/libexec/backoff"
for page in docs/*.md; do put 644 "$page" "$prefix/share/doc/${page##*/}"; done
put 644 deploy/prometheus/alerts.yml "$prefix/share/prometheus/alerts.yml"
put 644 deploy/grafana/orchestrator.json "$prefix/share/grafana/orchestrator.json"
put 644 deploy/nginx/orchestrator.conf "$prefix/share/nginx/orchestrator.conf"
put 644 deploy/orchestrator.env "$prefix/share/orchestrator.env"
for unit in "${units[@]}"; do put 644 "deploy/systemd/$unit" "/etc/systemd/system/$unit"; done
put 644 deploy/sysusers.d/orchestrator.conf /etc/sysusers.d/orchestrator.conf
put 644 deploy/tmpfiles.d/orchestrator.conf /etc/tmpfiles.d/orchestrator.conf
put 644 deploy/logrotate/orchestrator /etc/logrotate.d/orchestrator
put 755 deploy/orchestratorctl /usr/local/sbin/orchestratorctl
put 644 deploy/man/orchestrator.1 /usr/local/share/man/man1/orchestrator.1
put 644 deploy/man/orchestratorctl.8 /usr/local/share/man/man8/orchestratorctl.8
link "$prefix/bin/orchestrator" /usr/local/bin/orchestrator
completions=$(mktemp)
trap 'rm -f "$completions"' EXIT
"$program" completions bash >"$completions"
put 644 "$completions" /usr/local/share/bash-completion/completions/orchestrator
run_here systemd-sysusers /etc/sysusers.d/orchestrator.conf
# Settings that are there are never touched.
if [[ ! -e $root$settings ]]; then put 640 deploy/orchestrator.env "$settings"; fi
run_here systemd-tmpfiles --create /etc/tmpfiles.d/orchestrator.conf
run_here systemctl daemon-reload

if ! $dry; then cat <<TEXT

Next:
  1. settings:  $settings
  2. database:  docs/DEPLOYMENT.md, "Installation": its schema, and the role of the services
  3. services:  systemctl enable --now orchestrator.target orchestrator-api orchestrator-scheduler orchestrator-runner
                (those that run already keep the old program until they are restarted: "Upgrade and roll-back")
  4. look:      orchestratorctl doctor
TEXT
fi
