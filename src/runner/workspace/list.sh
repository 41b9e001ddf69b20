# list.sh: prints the paths in `work` that are not as they were taken last, each ended by NUL.
if [ ! -d base ]; then
    configure
    begin_base
fi
cd work
# git would wait for whoever writes to a pipe by one of these names, and nobody is left who does.
find . \( -name .gitignore -o -name .gitattributes -o -name .gitmodules -o -path '*/.git/*' \) -type p \
    -exec rm -f -- {} + 2>/dev/null || :
git ls-files -z --modified --deleted --others --exclude-standard
