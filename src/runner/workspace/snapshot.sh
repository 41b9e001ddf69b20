# snapshot.sh BASE MOST LENGTH: of the paths on standard input, each ended by NUL, those in the first LENGTH bytes are
# gone from `work`, the others are taken as they are. With none of either, what was taken last is compared anew.
outdate
if [ "$3" -gt 0 ]; then (cd work && head -c "$3" | git update-index -z --force-remove --stdin); fi
(cd work && git update-index -z --add --replace --stdin)
differ "$1" "$2"
