"""pylibmc (libmemcached) and python-binary-memcached: the binary protocol, and pylibmc in text beside it."""

import os
import time
import unittest

import bmemcached
import pylibmc

ADDRESS = f"127.0.0.1:{os.environ['MEMCACHED_PORT']}"


class Pylibmc(unittest.TestCase):
    binary = True

    def setUp(self):
        self.c = pylibmc.Client([ADDRESS], binary=self.binary, behaviors={"cas": True})
        self.addCleanup(self.c.disconnect_all)
        self.c.flush_all()

    def test_values(self):
        for value in (b"v", b"", "text", 42, 2.5, {"a": [1, 2]}, bytes(range(256)) * 10, os.urandom(500_000)):
            self.assertTrue(self.c.set("k", value))
            self.assertEqual(self.c.get("k"), value)
        self.assertIsNone(self.c.get("missing"))

    def test_conditions(self):
        self.assertTrue(self.c.add("k", b"1"))
        self.assertFalse(self.c.add("k", b"2"))
        self.assertTrue(self.c.replace("k", b"3"))
        if self.binary:
            with self.assertRaises(pylibmc.NotFound):
                self.c.replace("missing", b"3")
        else:
            self.assertFalse(self.c.replace("missing", b"3"))
        self.assertTrue(self.c.append("k", b"4"))
        self.assertTrue(self.c.prepend("k", b"2"))
        self.assertEqual(self.c.get("k"), b"234")
        self.assertTrue(self.c.delete("k"))
        self.assertFalse(self.c.delete("k"))

    def test_versions(self):
        self.c.set("k", b"1")
        value, version = self.c.gets("k")
        self.assertEqual(value, b"1")
        self.assertTrue(self.c.cas("k", b"2", version))
        self.assertFalse(self.c.cas("k", b"3", version))
        self.assertEqual(self.c.get("k"), b"2")

    def test_counters(self):
        self.c.set("n", 10)
        self.assertEqual(self.c.incr("n", 5), 15)
        self.assertEqual(self.c.decr("n", 7), 8)
        self.assertEqual(self.c.get("n"), 8)
        with self.assertRaises(pylibmc.NotFound):
            self.c.incr("missing")

    def test_many(self):
        values = {f"key{i}": f"value{i}" * (i % 50) for i in range(2000)}
        self.assertEqual(self.c.set_multi(values), [])
        self.assertEqual(self.c.get_multi([*values, "missing"]), values)
        self.assertTrue(self.c.delete_multi(list(values)[:1000]))
        self.assertEqual(len(self.c.get_multi(list(values))), 1000)

    def test_times(self):
        self.c.set("k", b"v", time=1)
        self.c.set("t", b"v", time=1)
        self.assertTrue(self.c.touch("t", 100))
        time.sleep(2.1)
        self.assertIsNone(self.c.get("k"))
        self.assertEqual(self.c.get("t"), b"v")

    def test_stats(self):
        ((_, stats),) = self.c.get_stats()
        self.assertIn("curr_items", {name.decode() if isinstance(name, bytes) else name for name in stats})


class PylibmcInText(Pylibmc):
    binary = False


class Bmemcached(unittest.TestCase):
    def setUp(self):
        self.c = bmemcached.Client((ADDRESS,))
        self.addCleanup(self.c.disconnect_all)
        self.c.flush_all()

    def test_values(self):
        self.assertTrue(self.c.set("k", "v", time=100))
        self.assertEqual(self.c.get("k"), "v")
        self.assertIsNone(self.c.get("missing"))
        self.assertFalse(self.c.add("k", "w"))
        self.assertTrue(self.c.replace("k", {"a": 1}))
        self.assertEqual(self.c.get("k"), {"a": 1})
        self.assertTrue(self.c.delete("k"))
        big = os.urandom(900_000)
        self.assertTrue(self.c.set("big", big))
        self.assertEqual(self.c.get("big"), big)

    def test_versions(self):
        self.c.set("k", "1")
        value, version = self.c.gets("k")
        self.assertEqual(value, "1")
        self.assertTrue(self.c.cas("k", "2", version))
        self.assertFalse(self.c.cas("k", "3", version))

    def test_counters_and_many(self):
        self.assertEqual(self.c.incr("n", 5, default=10), 10)
        self.assertEqual(self.c.incr("n", 5), 15)
        self.assertEqual(self.c.decr("n", 20), 0)
        values = {f"key{i}": f"value{i}" for i in range(500)}
        self.assertEqual(self.c.set_multi(values, time=100), [])
        self.assertEqual(self.c.get_multi(list(values)), values)

    def test_stats(self):
        (stats,) = self.c.stats().values()
        self.assertIn("curr_items", {name.decode() if isinstance(name, bytes) else name for name in stats})


if __name__ == "__main__":
    unittest.main()
