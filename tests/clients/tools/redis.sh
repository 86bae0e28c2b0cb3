# redis-cli in the ways people use it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cli() { redis-cli -p "$REDIS_PORT" "$@"; }
failed=0
check() { # what, expected, got
    if [ "$2" != "$3" ]; then
        echo "FAILED $1: expected '$2', got '$3'"
        failed=1
    fi
}
holds() { # what, pattern, file or text
    if ! grep -Eq -- "$2" <<<"$3"; then
        echo "FAILED $1: no '$2' in: $3"
        failed=1
    fi
}

cli flushall >/dev/null
check ping PONG "$(cli ping)"
check set OK "$(cli set greeting 'hello world')"
check get "hello world" "$(cli get greeting)"
check 'reading the value from stdin' OK "$(printf 'from stdin' | cli -x set stdin)"
check 'its length' 10 "$(cli strlen stdin)"
check 'RESP3' 1 "$(cli -3 --no-raw hset h f v | tr -dc 0-9)"
holds 'RESP3 map' '1# "f" => "v"' "$(cli -3 --no-raw hgetall h)"
check 'repeat' 3 "$(cli -r 3 incr n | tail -1)"
check 'database' '' "$(cli -n 3 get greeting)"
check 'several commands from stdin' "OK v" "$(printf 'set a v\nget a\n' | cli | xargs)"
check 'quoted arguments' 6 "$(printf 'set q "a\\x00b\\r\\n\\""\nstrlen q\n' | cli | tail -1)"
check 'csv' '"v"' "$(cli --csv get a)"
holds 'an error' 'WRONGTYPE' "$(cli lpush a x 2>&1)"
if cli -e lpush a x >/dev/null 2>&1; then echo 'FAILED -e: an error must end with a failure'; failed=1; fi

# Mass insertion: requests in, replies counted.
python3 - >"$work/mass" <<'PY'
import sys
for i in range(20000):
    args = [b"SET", b"mass:%d" % i, b"value %d" % i]
    sys.stdout.buffer.write(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
PY
holds '--pipe' 'errors: 0, replies: 20000' "$(cli --pipe <"$work/mass" 2>&1)"
check 'keys after --pipe' 20000 "$(cli --scan --pattern 'mass:*' | sort -u | wc -l)"

cli rpush biglist $(seq 300) >/dev/null
cli sadd bigset $(seq 200) >/dev/null
cli zadd bigzset $(seq 100 | sed 's/.*/& m&/') >/dev/null
cli hset bighash $(seq 100 | sed 's/.*/f& v&/') >/dev/null
bigkeys=$(cli --bigkeys 2>&1)
holds '--bigkeys: list' 'Biggest +list found .*biglist.* has 300 items' "$bigkeys"
holds '--bigkeys: hash' 'Biggest +hash found .*bighash.* has 100 fields' "$bigkeys"
holds '--bigkeys: set' 'Biggest +set found .*bigset.* has 200 members' "$bigkeys"
holds '--memkeys' 'Biggest +list found .*biglist' "$(cli --memkeys 2>&1)"

holds '--stat' 'keys +mem +clients' "$(timeout 3 stdbuf -oL redis-cli -p "$REDIS_PORT" --stat -i 1 2>&1 || true)"
holds '--latency' '^[0-9]+ [0-9]+ [0-9.]+ [0-9]+' "$(timeout 2 redis-cli -p "$REDIS_PORT" --raw --latency -i 1 2>&1 || true)"
holds '--intrinsic-latency needs no server' 'Max latency' "$(cli --intrinsic-latency 1 2>&1)"

timeout 5 redis-cli -p "$REDIS_PORT" monitor >"$work/monitor" 2>&1 &
monitor=$!
sleep 0.5
cli set watched '"quoted" value' >/dev/null
sleep 0.3
kill $monitor 2>/dev/null || true
wait $monitor 2>/dev/null || true
holds 'MONITOR' '^[0-9]+\.[0-9]{6} \[0 127\.0\.0\.1:[0-9]+\] "set" "watched" "\\"quoted\\" value"$' "$(cat "$work/monitor")"

timeout 5 redis-cli -p "$REDIS_PORT" --csv subscribe news >"$work/news" 2>&1 &
subscriber=$!
sleep 0.5
check 'PUBLISH' 1 "$(cli publish news hello)"
sleep 0.3
kill $subscriber 2>/dev/null || true
wait $subscriber 2>/dev/null || true
holds 'SUBSCRIBE' '"message","news","hello"' "$(cat "$work/news")"

check 'EVAL' 'k a' "$(cli eval 'return {KEYS[1],ARGV[1]}' 1 k a | xargs)"
printf 'return redis.call("GET", KEYS[1])\n' >"$work/script.lua"
check '--eval' v "$(cli --eval "$work/script.lua" a)"
holds 'INFO' 'redis_version:' "$(cli info server)"
holds 'CLIENT LIST' 'addr=127.0.0.1:' "$(cli client list)"
holds 'HELP is in the client' '[Ss]ets? the string' "$(printf 'help set\n' | cli 2>&1)"
exit $failed
