// Go's redigo, with redisc where there are several nodes, and gomemcache.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/gomodule/redigo/redis"
	"github.com/mna/redisc"
)

func check(what string, expected, got interface{}, err error) {
	if err != nil {
		fmt.Printf("FAILED %s: %v\n", what, err)
		os.Exit(1)
	}
	if expected != got {
		fmt.Printf("FAILED %s: expected %v, got %v\n", what, expected, got)
		os.Exit(1)
	}
}

func addresses(variable string) []string {
	var all []string
	for _, port := range strings.Fields(os.Getenv(variable)) {
		all = append(all, "127.0.0.1:"+port)
	}
	return all
}

func dial(addr string) redis.Conn {
	conn, err := redis.Dial("tcp", addr, redis.DialReadTimeout(30*time.Second))
	check("dial "+addr, true, conn != nil, err)
	return conn
}

func redigo(nodes []string) {
	here, there := dial(nodes[0]), dial(nodes[len(nodes)-1])
	_, err := here.Do("DEL", "go:n", "go:x", "go:y", "go:hash")
	check("del", nil, nil, err)
	for n := 0; n < 100; n++ {
		check("send", nil, nil, here.Send("INCR", "go:n"))
	}
	check("flush", nil, nil, here.Flush())
	for n := 1; n <= 100; n++ {
		got, err := redis.Int(here.Receive())
		check("pipeline", n, got, err)
	}
	script := redis.NewScript(2, "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('APPEND', KEYS[2], ARGV[1])")
	size, err := redis.Int(script.Do(there, "go:x", "go:y", "value"))
	check("script", 5, size, err)
	_, err = there.Do("WATCH", "go:x")
	check("watch", nil, nil, err)
	_, err = here.Do("SET", "go:x", "other")
	check("set", nil, nil, err)
	check("multi", nil, nil, there.Send("MULTI"))
	check("queue", nil, nil, there.Send("SET", "go:x", "late"))
	undone, err := there.Do("EXEC")
	check("exec", nil, undone, err)
	_, err = here.Do("HSET", redis.Args{}.Add("go:hash").AddFlat(map[string]int{"a": 1, "b": 2})...)
	check("hset", nil, nil, err)
	fields, err := redis.IntMap(there.Do("HGETALL", "go:hash"))
	check("hgetall", 2, fields["b"], err)
	listener := redis.PubSubConn{Conn: there}
	check("psubscribe", nil, nil, listener.PSubscribe("go:*"))
	listener.Receive()
	_, err = here.Do("PUBLISH", "go:channel", "hello")
	check("publish", nil, nil, err)
	message, _ := listener.Receive().(redis.Message)
	check("message", "hello", string(message.Data), nil)
}

func cluster(nodes []string) {
	all := &redisc.Cluster{
		StartupNodes: nodes[:1],
		CreatePool: func(addr string, options ...redis.DialOption) (*redis.Pool, error) {
			return &redis.Pool{Dial: func() (redis.Conn, error) { return redis.Dial("tcp", addr, options...) }}, nil
		},
	}
	defer all.Close()
	check("refresh", nil, nil, all.Refresh())
	for n := 0; n < 50; n++ {
		conn, key := all.Get(), fmt.Sprint("go:", n)
		_, err := conn.Do("SET", key, n)
		check("cluster set", nil, nil, err)
		got, err := redis.Int(conn.Do("GET", key))
		check("cluster get", n, got, err)
		conn.Close()
	}
}

func items(servers []string) {
	client := memcache.New(servers...)
	client.Timeout = 30 * time.Second
	check("store", nil, nil, client.Set(&memcache.Item{Key: "go", Value: []byte("1"), Flags: 7, Expiration: 100}))
	sum, err := client.Increment("go", 5)
	check("incr", uint64(6), sum, err)
	item, err := client.Get("go")
	check("get", uint32(7), item.Flags, err)
	check("add", memcache.ErrNotStored, client.Add(&memcache.Item{Key: "go"}), nil)
	check("cas", nil, nil, client.CompareAndSwap(item))
	check("stale cas", memcache.ErrCASConflict, client.CompareAndSwap(item), nil)
	check("touch", nil, nil, client.Touch("go", 50))
	var keys []string
	for n := 0; n < 20; n++ {
		keys = append(keys, fmt.Sprint("go", n))
		check("store", nil, nil, client.Set(&memcache.Item{Key: keys[n], Value: []byte("v")}))
	}
	found, err := client.GetMulti(append(keys, "none"))
	check("several", 20, len(found), err)
	check("delete", nil, nil, client.Delete("go"))
	check("deleted", memcache.ErrCacheMiss, client.Delete("go"), nil)
}

func main() {
	nodes := addresses("PORTS")
	redigo(nodes)
	if len(nodes) > 1 {
		cluster(nodes)
	}
	items(addresses("MEMCACHED_PORTS"))
	fmt.Println("ok")
}
