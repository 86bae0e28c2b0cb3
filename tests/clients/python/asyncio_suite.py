"""redis-py's asyncio client: many tasks over one pool, messages, blocking reads."""

import asyncio
import os
import unittest

import redis.asyncio as redis

PORT = int(os.environ["REDIS_PORT"])


class Asyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        pool = redis.BlockingConnectionPool(port=PORT, protocol=3, max_connections=50, timeout=20)
        self.r = redis.Redis.from_pool(pool)
        await self.r.flushall()

    async def asyncTearDown(self):
        await self.r.aclose()

    async def test_many_tasks(self):
        async def work(i):
            await self.r.set(f"k{i}", i)
            self.assertEqual(await self.r.get(f"k{i}"), b"%d" % i)
            await self.r.incr("n")

        await asyncio.gather(*(work(i) for i in range(200)))
        self.assertEqual(await self.r.get("n"), b"200")

    async def test_pipeline(self):
        async with self.r.pipeline(transaction=True) as pipe:
            results = await pipe.set("a", 1).incr("a").hset("h", "f", "v").hgetall("h").execute()
        self.assertEqual(results, [True, 2, 1, {b"f": b"v"}])

    async def test_messages(self):
        async with self.r.pubsub() as p:
            await p.subscribe("c")
            self.assertEqual((await p.get_message(timeout=5))["type"], "subscribe")
            await self.r.publish("c", "hello")
            self.assertEqual((await p.get_message(timeout=5))["data"], b"hello")

    async def test_blocking(self):
        async def later():
            await asyncio.sleep(0.1)
            await self.r.zadd("z", {"m": 1})

        task = asyncio.create_task(later())
        got = await self.r.bzpopmin("z", timeout=5)
        self.assertEqual((got[0], got[1], float(got[2])), (b"z", b"m", 1.0))
        await task


if __name__ == "__main__":
    unittest.main()
