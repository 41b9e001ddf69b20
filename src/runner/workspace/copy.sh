# copy.sh SOURCE: copies a directory to `work`, notes in `base` what was copied, and prints the commit's id.
configure
cp -RP --preserve=mode,timestamps -- "$1/." work/
begin_base
# All of it, also what a .gitignore leaves out; repositories within it are files as others are.
(cd work && find . \( -name .git -prune \) -o \( -type f -o -type l \) -printf '%P\0') |
    (cd work && git -c core.looseCompression=0 update-index -z --add --stdin)
commit=$(git commit-tree "$(git write-tree)" -m 'the project as it was' </dev/null)
git update-ref refs/heads/main "$commit"
echo "$commit"
