# list.sh: prints the paths in `work` that are not as they were taken last, each ended by NUL.
#
# Whoever held these was killed: nobody else is at work here.
rm -f base/*.lock incoming.index.lock
if [ ! -d base ]; then
    configure
    begin_base
fi
cd work
# git takes no pipe, and waits for whoever writes to one where it looks for a file of its own: by name, or where a
# repository within says that it is. Nobody is left who writes.
find . -type p -exec rm -f -- {} + 2>/dev/null || :
git ls-files -z --modified --deleted --others --exclude-standard
