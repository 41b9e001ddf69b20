# clone.sh SOURCE COMMIT: makes `base` and `work` from a repository and prints the commit's id.
#
# `--no-local` has git serve the repository to us as if it were far away: no file of it is linked, and of its
# configuration only what a server reads counts. `--template=` leaves hooks out.
configure
unset GIT_DIR GIT_WORK_TREE
git clone --quiet --bare --no-local --no-hardlinks --template= -- "$1" base
take_bytes
git clone --quiet --shared --no-checkout --template= -- base work
commit=$(git -C base rev-parse --verify --quiet "$2^{commit}" || true)
if [ -z "$commit" ] && [ "$2" != HEAD ]; then
    echo "the commit $2, which the job began with, is no longer in the project" >&2
    exit 1
fi
if [ -z "$commit" ]; then exit 0; fi
if [ "$2" != HEAD ]; then git -C work update-ref --no-deref HEAD "$commit"; fi
GIT_DIR="$PWD/base" GIT_WORK_TREE="$PWD/work" git read-tree -u --reset "$commit"
# What steps compare with is their own repository's index.
git -C work reset --quiet --mixed "$commit" --
echo "$commit"
