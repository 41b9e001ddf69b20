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

# Writes what differs between $1 and what was taken last to `patch.diff`.
differ() {
    rm -f patch.diff
    git diff-index -p --cached --binary --full-index -M --no-color --no-ext-diff --no-textconv \
        --src-prefix=a/ --dst-prefix=b/ "${1:-$(no_files)}" -- >patch.diff
}

