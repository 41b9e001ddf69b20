# list.sh: prints the paths in `work` that are not as they were taken last, each ended by NUL.
if [ ! -d base ]; then
    configure
    begin_base
fi
cd work
git ls-files -z --modified --deleted --others --exclude-standard
