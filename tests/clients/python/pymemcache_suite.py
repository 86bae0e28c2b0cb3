"""pymemcache: every call of its client, big and binary values, times, many keys."""

import os
import time
import unittest

from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheClientError

ADDRESS = ("127.0.0.1", int(os.environ["MEMCACHED_PORT"]))


class Pymemcache(unittest.TestCase):
    def setUp(self):
        self.c = Client(ADDRESS, default_noreply=False, timeout=20)
        self.addCleanup(self.c.close)
        self.c.flush_all()

    def test_values(self):
        self.assertTrue(self.c.set("k", b"v"))
        self.assertEqual(self.c.get("k"), b"v")
        self.assertEqual(self.c.get("missing", default=7), 7)
        every_byte = bytes(range(256)) * 10
        self.c.set("binary", every_byte)
        self.assertEqual(self.c.get("binary"), every_byte)
        self.c.set("empty", b"")
        self.assertEqual(self.c.get("empty"), b"")
        line_ends = b"END\r\nVALUE x 0 1\r\n"
        self.c.set("line_ends", line_ends)
        self.assertEqual(self.c.get("line_ends"), line_ends)

    def test_big_values(self):
        for size in (5000, 100_000, 1_000_000):
            value = os.urandom(size)
            self.assertTrue(self.c.set("big", value))
            self.assertEqual(self.c.get("big"), value)

    def test_conditions(self):
        self.assertTrue(self.c.add("k", b"1"))
        self.assertFalse(self.c.add("k", b"2"))
        self.assertTrue(self.c.replace("k", b"3"))
        self.assertFalse(self.c.replace("missing", b"3"))
        self.assertTrue(self.c.append("k", b"4"))
        self.assertTrue(self.c.prepend("k", b"2"))
        self.assertEqual(self.c.get("k"), b"234")
        self.assertFalse(self.c.append("missing", b"x"))

    def test_cas(self):
        self.c.set("k", b"1")
        value, unique = self.c.gets("k")
        self.assertEqual(value, b"1")
        self.assertTrue(self.c.cas("k", b"2", unique))
        self.assertFalse(self.c.cas("k", b"3", unique))
        self.assertIsNone(self.c.cas("missing", b"3", unique))

    def test_numbers(self):
        self.c.set("n", b"10")
        self.assertEqual(self.c.incr("n", 5), 15)
        self.assertEqual(self.c.decr("n", 100), 0)
        self.assertIsNone(self.c.incr("missing", 1))
        self.c.set("s", b"abc")
        with self.assertRaises(MemcacheClientError):
            self.c.incr("s", 1)

    def test_many_keys(self):
        values = {f"key{i}": b"%d" % i for i in range(500)}
        self.assertEqual(self.c.set_many(values), [])
        self.assertEqual(self.c.get_many(list(values) + ["missing"]), values)
        self.assertEqual(len(self.c.gets_many(list(values)[:10])), 10)
        self.assertTrue(self.c.delete_many(list(values)[:250]))
        self.assertEqual(len(self.c.get_many(list(values))), 250)

    def test_times(self):
        self.c.set("k", b"v", expire=1)
        self.assertEqual(self.c.get("k"), b"v")
        time.sleep(2.1)
        self.assertIsNone(self.c.get("k"))
        self.c.set("k", b"v", expire=1)
        self.assertTrue(self.c.touch("k", expire=100))
        self.assertFalse(self.c.touch("missing", expire=100))
        time.sleep(2.1)
        self.assertEqual(self.c.get("k"), b"v")
        self.c.set("k", b"v", expire=-1)
        self.assertIsNone(self.c.get("k"))

    def test_noreply(self):
        for i in range(100):
            self.c.set(f"k{i}", b"%d" % i, noreply=True)
        self.assertEqual(self.c.get("k99"), b"99")
        self.c.delete("k99", noreply=True)
        self.assertIsNone(self.c.get("k99"))

    def test_delete_and_flush(self):
        self.c.set("k", b"v")
        self.assertTrue(self.c.delete("k"))
        self.assertFalse(self.c.delete("k"))
        self.c.set("k", b"v")
        self.assertTrue(self.c.flush_all())
        self.assertIsNone(self.c.get("k"))

    def test_introspection(self):
        self.assertTrue(self.c.version())
        stats = self.c.stats()
        for name in (b"pid", b"uptime", b"curr_items", b"cmd_get", b"get_hits", b"bytes", b"limit_maxbytes"):
            self.assertIn(name, stats)

    def test_bad_keys(self):
        with self.assertRaises(MemcacheClientError):
            Client(ADDRESS, allow_unicode_keys=True).raw_command("get " + "k" * 251)

    def test_pool(self):
        pool = PooledClient(ADDRESS, max_pool_size=8)
        pool.set("k", b"v", noreply=False)
        self.assertEqual(pool.get("k"), b"v")
        pool.close()


if __name__ == "__main__":
    unittest.main()
