# libmemcached's command line tools.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
servers=127.0.0.1:$MEMCACHED_PORT
failed=0
check() { # what, expected, got
    if [ "$2" != "$3" ]; then
        echo "FAILED $1: expected '$2', got '$3'"
        failed=1
    fi
}

memcping --servers="$servers" || { echo 'FAILED memcping'; failed=1; }
memcflush --servers="$servers"
cd "$work"
printf 'some text' >one
head -c 300000 /dev/urandom >two
memccp --servers="$servers" one two
check memccat 'some text' "$(memccat --servers="$servers" one)"
memccat --servers="$servers" --file=back two >/dev/null
cmp two back || { echo 'FAILED a binary value did not come back as it went'; failed=1; }
memcexist --servers="$servers" one || { echo 'FAILED memcexist'; failed=1; }
memctouch --servers="$servers" --expire=100 one || { echo 'FAILED memctouch'; failed=1; }
memcrm --servers="$servers" one
if memcexist --servers="$servers" one; then echo 'FAILED memcrm'; failed=1; fi
memcstat --servers="$servers" >stat
for name in pid version curr_items get_hits bytes limit_maxbytes; do
    grep -q "$name" stat || { echo "FAILED memcstat: no $name"; failed=1; }
done
# The capability test goes through every call of the text protocol. Its whole list takes a while.
if command -v memccapable >/dev/null; then
    memccapable -h 127.0.0.1 -p "$MEMCACHED_PORT" -a >capable 2>&1 || true
    if grep -E '\[(FAIL|fail)\]' capable; then failed=1; fi
fi
memcslap --servers="$servers" --concurrency=4 --execute-number=500 --test=set >/dev/null || { echo 'FAILED memcslap set'; failed=1; }
memcslap --servers="$servers" --concurrency=4 --execute-number=500 --test=get >/dev/null || { echo 'FAILED memcslap get'; failed=1; }
exit $failed
