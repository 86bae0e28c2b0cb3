# redis-benchmark: the whole default list, plain and pipelined, must run through without an error.
set -euo pipefail
run() {
    out=$(redis-benchmark -p "$REDIS_PORT" -n "$1" -c 20 -q "${@:2}" 2>&1 | tr '\r' '\n') || { echo "$out"; exit 1; }
    if grep -Eiq 'error|WARNING: Could not' <<<"$(grep -v 'fetch server CONFIG' <<<"$out")"; then
        echo "$out"
        exit 1
    fi
    grep 'requests per second' <<<"$out"
}
run 2000
run 20000 -P 16 -t ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,mset
run 5000 -r 1000 -d 4096 -t set,get
run 2000 -3 -t get,hset
run 2000 --threads 2 -t set,get
run 2000 -r 100 eval "return redis.call('SET', KEYS[1], ARGV[1])" 1 key:__rand_int__ v
