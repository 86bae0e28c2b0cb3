"""More of what Python keeps in a cache: channels, queues, limits, and the client of Valkey's own. Each side talks to another node."""

import asyncio
import os
import unittest
import uuid

PORTS = [int(port) for port in os.environ["PORTS"].split()]
MEMCACHED_PORTS = [int(port) for port in os.environ["MEMCACHED_PORTS"].split()]


def url(at):
    return f"redis://127.0.0.1:{PORTS[at % len(PORTS)]}/0"


def name(what):
    return f"{what}-{uuid.uuid4().hex}"


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


class Channels(unittest.TestCase):
    def test_a_group_is_heard_everywhere_and_a_layer_can_be_emptied(self):
        from channels_redis.core import RedisChannelLayer

        async def work():
            prefix = name("layer")
            here = RedisChannelLayer(hosts=[url(0)], prefix=prefix)
            there = RedisChannelLayer(hosts=[url(1)], prefix=prefix)
            one, other = await here.new_channel(), await there.new_channel()
            await here.group_add("group", one)
            await there.group_add("group", other)
            await there.group_send("group", {"type": "hello", "n": 1})
            self.assertEqual((await here.receive(one))["n"], 1)
            self.assertEqual((await there.receive(other))["n"], 1)
            for n in range(5):
                await there.send(one, {"type": "left", "n": n})
            # A script that looks for keys by a pattern and deletes them.
            await here.flush()
            self.assertEqual(await here.connection(0).keys(prefix + "*"), [])
            await here.close_pools()
            await there.close_pools()

        run(work())

    def test_a_layer_of_pubsub(self):
        from channels_redis.pubsub import RedisPubSubChannelLayer

        async def work():
            here, there = RedisPubSubChannelLayer(hosts=[url(0)]), RedisPubSubChannelLayer(hosts=[url(1)])
            one = await here.new_channel()
            await here.group_add(group := name("group"), one)
            await there.group_send(group, {"type": "hello", "n": 2})
            self.assertEqual((await here.receive(one))["n"], 2)
            await here.flush()
            await there.flush()

        run(work())


class Dramatiq(unittest.TestCase):
    def test_messages_results_and_delays(self):
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker
        from dramatiq.results import Results
        from dramatiq.results.backends import RedisBackend

        broker = RedisBroker(url=url(0), namespace=name("dramatiq"))
        broker.add_middleware(Results(backend=RedisBackend(url=url(1))))
        dramatiq.set_broker(broker)

        @dramatiq.actor(broker=broker, store_results=True)
        def add(one, other):
            return one + other

        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=4)
        worker.start()
        try:
            sent = [add.send(n, n) for n in range(40)]
            sent.append(add.send_with_options(args=(40, 40), delay=100))
            results = [message.get_result(block=True, timeout=60_000) for message in sent]
            self.assertEqual(results, [2 * n for n in range(41)])
        finally:
            worker.stop()
            broker.flush_all()

    def test_rate_limits_over_both_protocols(self):
        from dramatiq.rate_limits import ConcurrentRateLimiter, WindowRateLimiter
        from dramatiq.rate_limits.backends import MemcachedBackend, RedisBackend

        for backend in (RedisBackend(url=url(0)), MemcachedBackend(servers=[f"127.0.0.1:{MEMCACHED_PORTS[0]}"], binary=True)):
            once = ConcurrentRateLimiter(backend, name("once"), limit=1)
            with once.acquire():
                with once.acquire(raise_on_failure=False) as acquired:
                    self.assertFalse(acquired)
            window = WindowRateLimiter(backend, name("window"), limit=2, window=600)
            acquired = []
            for _ in range(3):
                with window.acquire(raise_on_failure=False) as granted:
                    acquired.append(granted)
            self.assertEqual(acquired, [True, True, False])


class Huey(unittest.TestCase):
    def test_queues_by_list_and_by_priority(self):
        from huey import PriorityRedisHuey, RedisHuey

        for kind in (RedisHuey, PriorityRedisHuey):
            queue = kind(name("huey"), url=url(0))

            @queue.task(name=name("task"))
            def add(one, other):
                return one + other

            @queue.task(name=name("locked"))
            @queue.lock_task("lock")
            def locked():
                return "done"

            consumer = queue.create_consumer(workers=2, periodic=False, initial_delay=0.01, max_delay=0.1)
            consumer.start()
            try:
                results = [add(n, 1) for n in range(10)]
                self.assertEqual([result.get(blocking=True, timeout=60) for result in results], list(range(1, 11)))
                self.assertEqual(locked().get(blocking=True, timeout=60), "done")
            finally:
                consumer.stop(graceful=True)


class Limits(unittest.TestCase):
    def test_windows_of_all_kinds(self):
        import limits

        stores = [url(0), f"memcached://127.0.0.1:{MEMCACHED_PORTS[-1]}"]
        if len(PORTS) > 1:
            stores.append(f"redis+cluster://127.0.0.1:{PORTS[0]}")
        for uri in stores:
            storage = limits.storage.storage_from_string(uri)
            kinds = [limits.strategies.FixedWindowRateLimiter, limits.strategies.SlidingWindowCounterRateLimiter]
            if "memcached" not in uri:
                kinds.append(limits.strategies.MovingWindowRateLimiter)
            for kind in kinds:
                limiter, three, who = kind(storage), limits.parse("3/hour"), name("who")
                hits = [limiter.hit(three, who) for _ in range(4)]
                self.assertEqual(hits, [True, True, True, False], (uri, kind))
                limiter.clear(three, who)
                self.assertTrue(limiter.hit(three, who), (uri, kind))


class Glide(unittest.TestCase):
    def test_one_node(self):
        from glide import Batch, GlideClient, GlideClientConfiguration, NodeAddress, Script

        async def work():
            clients = [
                await GlideClient.create(GlideClientConfiguration([NodeAddress("127.0.0.1", port)]))
                for port in (PORTS[0], PORTS[-1])
            ]
            key = name("glide")
            self.assertEqual(await clients[0].set(key, "1"), "OK")
            script = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
            self.assertEqual(await clients[1].invoke_script(script, keys=[key], args=["4"]), 5)
            batch = Batch(is_atomic=True)
            batch.incr(key)
            batch.get(key)
            self.assertEqual(await clients[0].exec(batch, raise_on_error=True), [6, b"6"])
            for client in clients:
                await client.close()

        run(work())

    @unittest.skipIf(len(PORTS) == 1, "of several nodes")
    def test_several_nodes(self):
        from glide import ClusterScanCursor, GlideClusterClient, GlideClusterClientConfiguration, NodeAddress

        async def work():
            config = GlideClusterClientConfiguration([NodeAddress("127.0.0.1", PORTS[0])])
            client = await GlideClusterClient.create(config)
            prefix = name("glide")
            pairs = {f"{prefix}:{n}": str(n) for n in range(50)}
            await client.mset(pairs)
            self.assertEqual(await client.mget(list(pairs)), [value.encode() for value in pairs.values()])
            cursor, seen = ClusterScanCursor(), set()
            while not cursor.is_finished():
                cursor, keys = await client.scan(cursor, match=prefix + "*", count=100)
                seen.update(keys)
            self.assertEqual(len(seen), 50)
            self.assertEqual(await client.delete(list(pairs)), 50)
            await client.close()

        run(work())


if __name__ == "__main__":
    unittest.main()
