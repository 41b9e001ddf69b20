# empty.sh: deletes everything here, also directories that are closed or very deep. No link is followed.
chmod -R u+rwX . 2>/dev/null || true
rm -rf -- work base patch.* ./*.diff incoming.index complaint gitconfig
