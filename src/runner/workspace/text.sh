# text.sh BASE: prints what differs between BASE and what was taken last, with every file as if it were text.
git diff-index -p --cached --text --unified=0 --no-renames --no-color --no-ext-diff --no-textconv "${1:-$(no_files)}" --
