# apply.sh BASE MOST: brings the patch on standard input, which is against BASE, into `work`. What is there already
# stays; where both changed the same lines, nothing is changed and the exit code is 3.
refuse() {
    echo "$1" >&2
    exit 3
}
cat >incoming.diff
if [ ! -s incoming.diff ]; then exit 0; fi
base=${1:-$(git commit-tree "$(no_files)" -m base </dev/null)}
ours=$(git write-tree)
rm -f incoming.index
export GIT_INDEX_FILE="$PWD/incoming.index"
git read-tree "$base"
git apply --cached --binary --whitespace=nowarn incoming.diff 2>complaint ||
    refuse "The patch does not apply to what the job began with: $(head -c 500 complaint)"
theirs=$(git write-tree)
unset GIT_INDEX_FILE
one=$(git commit-tree "$ours" -p "$base" -m ours </dev/null)
other=$(git commit-tree "$theirs" -p "$base" -m theirs </dev/null)
merged=$(git merge-tree --write-tree --name-only --no-messages "$one" "$other") ||
    refuse "The patch and the workspace change the same lines of: $(printf '%s' "$merged" | tail -n +2 | head -c 500 | tr '\n' ' ')"
outdate
(cd work && git read-tree -u -m "$ours" "$merged") 2>complaint ||
    refuse "The patch cannot be written to the workspace: $(head -c 500 complaint)"
differ "$1" "$2"
