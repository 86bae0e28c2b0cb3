"""redis-py in both protocol versions, with values, types, times, pipelines, transactions, messages."""

import os
import threading
import time
import unittest

import redis

PORT = int(os.environ["REDIS_PORT"])


class Common:
    """Tests for one protocol version."""

    protocol = 2

    def setUp(self):
        self.r = redis.Redis(port=PORT, protocol=self.protocol, socket_timeout=20)
        self.addCleanup(self.r.close)
        self.r.flushall()

    def test_values_are_binary_safe(self):
        every_byte = bytes(range(256))
        self.assertTrue(self.r.set(every_byte, every_byte))
        self.assertEqual(self.r.get(every_byte), every_byte)
        self.assertEqual(self.r.keys(), [every_byte])
        self.assertEqual(self.r.set("empty", b""), True)
        self.assertEqual(self.r.get("empty"), b"")
        self.assertIsNone(self.r.get("missing"))

    def test_big_values(self):
        for size in (4096, 65536, 1 << 20, 8 << 20):
            value = os.urandom(size)
            self.r.set("big", value)
            self.assertEqual(self.r.strlen("big"), size)
            self.assertEqual(self.r.get("big"), value)
            self.assertEqual(self.r.getrange("big", size - 3, -1), value[-3:])
        pipe = self.r.pipeline(transaction=False)
        for i in range(20):
            pipe.set(f"b{i}", bytes([i]) * 500_000).get(f"b{i}")
        results = pipe.execute()
        self.assertEqual(results[1::2], [bytes([i]) * 500_000 for i in range(20)])

    def test_set_options_and_times(self):
        self.assertTrue(self.r.set("k", "1", nx=True, ex=100))
        self.assertIsNone(self.r.set("k", "2", nx=True))
        self.assertEqual(self.r.set("k", "2", xx=True, get=True, keepttl=True), b"1")
        self.assertTrue(99 <= self.r.ttl("k") <= 100)
        self.assertTrue(98_000 < self.r.pttl("k") <= 100_000)
        self.assertTrue(self.r.persist("k"))
        self.assertEqual(self.r.ttl("k"), -1)
        self.assertEqual(self.r.ttl("missing"), -2)
        self.assertTrue(self.r.expireat("k", 4_000_000_000))
        self.assertEqual(self.r.expiretime("k"), 4_000_000_000)
        self.r.set("short", "x", px=30)
        time.sleep(0.06)
        self.assertFalse(self.r.exists("short"))

    def test_numbers(self):
        self.assertEqual(self.r.incr("n"), 1)
        self.assertEqual(self.r.incrby("n", 41), 42)
        self.assertEqual(self.r.decrby("n", 2), 40)
        self.assertAlmostEqual(float(self.r.incrbyfloat("f", 0.5)), 0.5)
        self.r.set("s", "abc")
        with self.assertRaisesRegex(redis.ResponseError, "not an integer"):
            self.r.incr("s")

    def test_hashes(self):
        self.assertEqual(self.r.hset("h", mapping={"a": 1, "b": "two", b"\x00\xff": b"\x01"}), 3)
        self.assertEqual(self.r.hgetall("h"), {b"a": b"1", b"b": b"two", b"\x00\xff": b"\x01"})
        self.assertEqual(self.r.hmget("h", "a", "missing"), [b"1", None])
        self.assertEqual(self.r.hincrby("h", "a", 9), 10)
        self.assertEqual(self.r.hdel("h", "a", "zz"), 1)
        self.r.hset("big", mapping={f"f{i}": i for i in range(2000)})
        self.assertEqual(dict(self.r.hscan_iter("big")), {b"f%d" % i: b"%d" % i for i in range(2000)})

    def test_lists(self):
        self.assertEqual(self.r.rpush("l", *range(1000)), 1000)
        self.assertEqual(self.r.lrange("l", 0, 2), [b"0", b"1", b"2"])
        self.assertEqual(self.r.lpop("l"), b"0")
        self.assertEqual(self.r.rpop("l", 2), [b"999", b"998"])
        self.assertEqual(self.r.lpos("l", "500"), 499)
        self.assertEqual(self.r.lmove("l", "m", "LEFT", "RIGHT"), b"1")
        self.assertEqual(self.r.llen("l"), 996)
        self.assertTrue(self.r.ltrim("l", 0, 1))
        self.assertEqual(self.r.lrange("l", 0, -1), [b"2", b"3"])

    def test_sets(self):
        self.r.sadd("s", *range(500))
        self.r.sadd("t", *range(250, 750))
        self.assertEqual(len(self.r.smembers("s")), 500)
        self.assertEqual(self.r.sintercard(2, ["s", "t"]), 250)
        self.assertEqual(set(self.r.sinter("s", "t")), {b"%d" % i for i in range(250, 500)})
        self.assertEqual(self.r.smismember("s", ["1", "9999"]), [1, 0])
        self.assertEqual({m for m in self.r.sscan_iter("s")}, {b"%d" % i for i in range(500)})
        popped = self.r.spop("s", 10)
        self.assertEqual(len(popped), 10)
        self.assertEqual(self.r.scard("s"), 490)

    def test_sorted_sets(self):
        self.assertEqual(self.r.zadd("z", {"a": 1, "b": 2.5, "c": float("inf")}), 3)
        self.assertEqual(self.r.zscore("z", "b"), 2.5)
        self.assertEqual(self.r.zscore("z", "c"), float("inf"))
        self.assertEqual(self.r.zrank("z", "b"), 1)
        members = self.r.zrange("z", 0, -1, withscores=True)
        self.assertEqual([tuple(m) for m in members], [(b"a", 1.0), (b"b", 2.5), (b"c", float("inf"))])
        self.assertEqual(self.r.zrangebyscore("z", "(1", 3), [b"b"])
        self.assertEqual(self.r.zincrby("z", 0.1, "a"), 1.1)
        self.r.zadd("big", {f"m{i}": i for i in range(3000)})
        self.assertEqual(self.r.zcount("big", 100, 199), 100)
        self.assertEqual(len(list(self.r.zscan_iter("big"))), 3000)

    def test_pipelines(self):
        pipe = self.r.pipeline(transaction=False)
        for i in range(5000):
            pipe.set(f"k{i}", i)
        self.assertEqual(pipe.execute(), [True] * 5000)
        for i in range(5000):
            pipe.get(f"k{i}")
        self.assertEqual(pipe.execute(), [b"%d" % i for i in range(5000)])
        pipe.set("a", 1).lpush("a", 2).get("a")
        results = pipe.execute(raise_on_error=False)
        self.assertEqual((results[0], results[2]), (True, b"1"))
        self.assertIsInstance(results[1], redis.ResponseError)
        self.assertIn("WRONGTYPE", str(results[1]))

    def test_transactions(self):
        with self.r.pipeline() as pipe:
            self.assertEqual(pipe.set("a", 1).incr("a").get("a").execute(), [True, 2, b"2"])
        with self.r.pipeline() as pipe:
            pipe.watch("a")
            value = int(pipe.get("a"))
            self.r.set("a", 100)
            pipe.multi()
            pipe.set("a", value + 1)
            with self.assertRaises(redis.WatchError):
                pipe.execute()
        self.assertEqual(self.r.get("a"), b"100")

    def test_messages(self):
        p = self.r.pubsub()
        self.addCleanup(p.close)
        p.subscribe("news", "other")
        p.psubscribe("n*")
        kinds = [p.get_message(timeout=5)["type"] for _ in range(3)]
        self.assertEqual(kinds, ["subscribe", "subscribe", "psubscribe"])
        self.assertEqual(self.r.publish("news", b"\x00hello\xff"), 2)
        got = [p.get_message(timeout=5) for _ in range(2)]
        self.assertEqual({m["type"] for m in got}, {"message", "pmessage"})
        self.assertEqual({m["data"] for m in got}, {b"\x00hello\xff"})
        self.assertEqual(self.r.pubsub_numsub("news"), [(b"news", 1)])
        p.unsubscribe()
        p.punsubscribe()

    def test_blocking(self):
        other = redis.Redis(port=PORT, protocol=self.protocol)
        self.addCleanup(other.close)
        thread = threading.Timer(0.1, lambda: other.rpush("q", "job"))
        thread.start()
        self.assertEqual([bytes(x) for x in self.r.blpop(["p", "q"], timeout=5)], [b"q", b"job"])
        thread.join()
        start = time.monotonic()
        self.assertIsNone(self.r.blpop("q", timeout=0.2))
        self.assertTrue(0.15 < time.monotonic() - start < 2)

    def test_scan_sees_everything(self):
        self.r.mset({f"key:{i}": i for i in range(3000)})
        self.assertEqual(set(self.r.scan_iter("key:*", count=100)), {b"key:%d" % i for i in range(3000)})
        self.assertEqual(self.r.dbsize(), 3000)

    def test_databases(self):
        other = redis.Redis(port=PORT, db=3, protocol=self.protocol)
        self.addCleanup(other.close)
        other.set("k", "in 3")
        self.assertIsNone(self.r.get("k"))
        self.assertTrue(other.move("k", 0))
        self.assertEqual(self.r.get("k"), b"in 3")

    def test_scripts(self):
        script = self.r.register_script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
        self.assertEqual(script(keys=["c"], args=["x"]), [b"c", b"x", 1])
        self.assertEqual(script(keys=["c"], args=["x"]), [b"c", b"x", 2])
        with self.assertRaises(redis.ResponseError):
            self.r.eval("return redis.call('LPUSH', KEYS[1], 'x')", 1, "c")

    def test_lock(self):
        lock = self.r.lock("lock", timeout=10)
        self.assertTrue(lock.acquire(blocking=False))
        self.assertFalse(self.r.lock("lock", timeout=10).acquire(blocking=False))
        self.assertTrue(lock.extend(5))
        lock.release()
        self.assertFalse(self.r.exists("lock"))

    def test_streams(self):
        first = self.r.xadd("x", {"a": 1})
        second = self.r.xadd("x", {"a": 2})
        self.assertEqual([entry[0] for entry in self.r.xrange("x")], [first, second])
        self.r.xgroup_create("x", "g", id="0")
        self.r.xreadgroup("g", "c", {"x": ">"})
        self.assertEqual(self.r.xpending("x", "g")["pending"], 2)
        self.assertEqual(self.r.xack("x", "g", first), 1)
        self.assertEqual(self.r.xlen("x"), 2)

    def test_introspection(self):
        self.assertTrue(self.r.ping())
        self.assertEqual(self.r.echo("hi"), b"hi")
        self.assertTrue(self.r.client_setname("suite"))
        self.assertEqual(self.r.client_getname(), "suite" if isinstance(self.r.client_getname(), str) else b"suite")
        self.assertTrue(any(c["name"] == "suite" for c in self.r.client_list()))
        self.assertIn("redis_version", self.r.info("server"))
        self.assertGreater(self.r.command_count(), 100)
        self.assertEqual(self.r.config_get("maxmemory-policy").keys(), {"maxmemory-policy"})
        self.r.set("k", "123")
        self.assertEqual(self.r.object("encoding", "k"), b"int")
        self.assertEqual(self.r.type("k"), b"string")
        self.assertEqual(len(self.r.time()), 2)

    def test_errors_leave_the_connection_usable(self):
        with self.assertRaises(redis.ResponseError):
            self.r.execute_command("NOSUCHCOMMAND", "x")
        with self.assertRaises(redis.ResponseError):
            self.r.execute_command("GET")
        self.assertTrue(self.r.ping())

    def test_many_connections(self):
        def work(i):
            r = redis.Redis(port=PORT, protocol=self.protocol)
            for _ in range(50):
                r.incr("shared")
            r.close()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(40)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(self.r.get("shared"), b"2000")


class Resp2(Common, unittest.TestCase):
    protocol = 2


class Resp3(Common, unittest.TestCase):
    protocol = 3

    def test_maps_and_doubles_come_as_such(self):
        self.r.hset("h", mapping={"a": 1})
        self.assertEqual(self.r.execute_command("HGETALL", "h"), {b"a": b"1"})
        self.r.zadd("z", {"m": 1.25})
        self.assertEqual(self.r.execute_command("ZSCORE", "z", "m"), 1.25)
        self.assertIsInstance(self.r.execute_command("SMEMBERS", "none"), (set, list))


if __name__ == "__main__":
    unittest.main()
