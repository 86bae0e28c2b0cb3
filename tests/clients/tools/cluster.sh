# redis-cli against three nodes: following redirections, and as a cluster's administrator.
set -euo pipefail
read -r first second third <<<"$CLUSTER_PORTS"
failed=0
check() { # what, expected, got
    if [ "$2" != "$3" ]; then
        echo "FAILED $1: expected '$2', got '$3'"
        failed=1
    fi
}
holds() { # what, pattern, text
    if ! grep -Eq -- "$2" <<<"$3"; then
        echo "FAILED $1: no '$2' in: $3"
        failed=1
    fi
}
configure() { # redirect, view
    for port in $first $second $third; do
        redis-cli -p "$port" config set redirect "$1" cluster-view "$2" >/dev/null
    done
}
trap 'configure forward standalone' EXIT

for redirect in forward moved; do
    configure $redirect cluster
    redis-cli -p "$first" flushall >/dev/null
    for i in $(seq 30); do
        check "$redirect: set k$i" OK "$(redis-cli -c -p "$second" set "k$i" "$i" | tail -1)"
        check "$redirect: get k$i" "$i" "$(redis-cli -c -p "$third" get "k$i" | tail -1)"
    done
    holds "$redirect: --cluster check" 'All 16384 slots covered' "$(redis-cli --cluster check 127.0.0.1:"$first" 2>&1)"
    holds "$redirect: --cluster info" '127.0.0.1:'"$third"' .* slots' "$(redis-cli --cluster info 127.0.0.1:"$second" 2>&1)"
    holds "$redirect: --cluster call" "127.0.0.1:$second: PONG" "$(redis-cli --cluster call 127.0.0.1:"$first" ping 2>&1)"
done
without=$(redis-cli -p "$first" set k1 x; redis-cli -p "$second" set k1 x; redis-cli -p "$third" set k1 x)
holds 'without -c' 'MOVED 12706 127.0.0.1:' "$without"
holds 'one of them serves it' 'OK' "$without"

# Administrators.
configure forward standalone
id=$(redis-cli -p "$second" cluster myid)
holds 'what draining would do' 'dry run, nothing is changed: ' "$(redis-cli -p "$first" cluster drain "$id" dryrun)"
check 'moving' OK "$(redis-cli -p "$first" cluster move 0-127 "$id")"
for _ in $(seq 600); do
    status=$(redis-cli -p "$third" cluster status)
    if grep -q 'placed by hand: 2 partitions, 2 of them there' <<<"$status"; then break; fi
    sleep 0.1
done
holds 'what was moved is there' 'placed by hand: 2 partitions, 2 of them there' "$status"
check 'the plan has it back' OK "$(redis-cli -p "$third" cluster rebalance)"
exit $failed
