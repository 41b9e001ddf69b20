# What the scripts beside this share; it is put before each of them.
set -eu
export GIT_DIR="$PWD/base" GIT_WORK_TREE="$PWD/work"

# The only configuration that counts, whoever owns the project's files.
configure() {
    printf '[safe]\n\tdirectory = *\n[core]\n\tfsync = none\n\thooksPath = /dev/null\n[gc]\n\tauto = 0\n' >gitconfig
    printf '[maintenance]\n\tauto = false\n[advice]\n\tdetachedHead = false\n[init]\n\tdefaultBranch = main\n' >>gitconfig
}

# Files are what they are, byte by byte, whatever attributes among them ask for.
take_bytes() {
    mkdir -p base/info
    printf '* -text -eol -ident -filter -working-tree-encoding\n' >base/info/attributes
}

begin_base() {
    (unset GIT_DIR GIT_WORK_TREE && git init --quiet --bare --template= base)
    take_bytes
}

no_files() { git hash-object -w -t tree /dev/null; }

# From here on `patch.diff` does not say what differs, until `differ` is through: `patch.due` says so to whoever comes
# next, should this be ended before.
outdate() {
    rm -f patch.new
    : >patch.new
    mv -f patch.new patch.due
    rm -f patch.diff
}

# Writes what differs between $1 and what was taken last to `patch.diff`, which is whole or not there. Where that is more
# than $2 blocks of 512 bytes the exit code is 4: hard links of one file may make far more of it than there is in `work`.
differ() {
    from=${1:-$(no_files)}
    differed=0
    (
        ulimit -f "$2"
        exec git diff-index -p --cached --binary --full-index -M --no-color --no-ext-diff --no-textconv \
            --src-prefix=a/ --dst-prefix=b/ "$from" -- >patch.new
    ) || differed=$?
    # SIGXFSZ, as a shell tells it.
    case $differed in
    0) mv patch.new patch.diff && rm -f patch.due ;;
    153) exit 4 ;;
    *) exit "$differed" ;;
    esac
}

