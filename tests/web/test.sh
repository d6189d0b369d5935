#!/bin/sh
# The page beside the program: the same bits. Closes with a line for the
# matrix.
set -e
cd "$(dirname "$0")/../.."
make -s atomdl web >&2
node tests/web/test.mjs build/web/page.png
echo "$(wc -c <build/web/atomdl.html) bytes of page"
