"""Task queues, caches, sessions and locks as Python's frameworks keep them. Where there are several nodes, each side talks to another."""

import asyncio
import os
import threading
import time
import unittest
import uuid
from datetime import timedelta

import django
import redis
from django.conf import settings

PORTS = [int(port) for port in os.environ["PORTS"].split()]
MEMCACHED_PORTS = [int(port) for port in os.environ["MEMCACHED_PORTS"].split()]


def url(at, db=0):
    return f"redis://127.0.0.1:{PORTS[at % len(PORTS)]}/{db}"


def client(at=0, **options):
    return redis.Redis(port=PORTS[at % len(PORTS)], socket_timeout=30, **options)


def eventually(holds, what):
    until = time.monotonic() + 60
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"never: {what}")
        time.sleep(0.01)


settings.configure(
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url(0, 2), "KEY_PREFIX": "builtin"},
        "package": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url(1, 2), "KEY_PREFIX": "package"},
        "memcached": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": f"127.0.0.1:{MEMCACHED_PORTS[0]}",
        },
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    INSTALLED_APPS=["django.contrib.sessions"],
    SECRET_KEY="not one",
    USE_TZ=True,
)
django.setup()


class Celery(unittest.TestCase):
    """A worker in a thread, its broker at one node and its results at another."""

    @classmethod
    def setUpClass(cls):
        from celery.contrib.testing.worker import start_worker
        from framework_tasks import celery

        celery.conf.update(
            broker_url=url(0, 3),
            result_backend=url(1, 3),
            broker_connection_retry_on_startup=True,
            worker_hijack_root_logger=False,
        )
        client(0, db=3).flushdb()
        cls.worker = start_worker(celery, pool="solo", perform_ping_check=False, loglevel="error")
        cls.worker.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.worker.__exit__(None, None, None)

    def test_tasks_and_results(self):
        from framework_tasks import add

        results = [add.delay(i, i) for i in range(30)]
        self.assertEqual([result.get(timeout=60) for result in results], [2 * i for i in range(30)])

    def test_chains_and_chords(self):
        from celery import chain, chord
        from framework_tasks import add, total

        self.assertEqual(chain(add.s(1, 2), add.s(10))().get(timeout=60), 13)
        self.assertEqual(chord([add.s(i, 1) for i in range(10)])(total.s()).get(timeout=60), 55)

    def test_retries(self):
        from framework_tasks import third_time_lucky

        self.assertEqual(third_time_lucky.delay("x").get(timeout=60), "x after 2 retries")

    def test_what_is_due_later_runs_later(self):
        from framework_tasks import now

        began = time.time()
        self.assertGreaterEqual(now.apply_async(countdown=1).get(timeout=60), began + 1)


class Rq(unittest.TestCase):
    def setUp(self):
        from rq import Queue

        self.r = client(0, db=4)
        self.r.flushdb()
        self.queue = Queue("q", connection=self.r)

    def work(self):
        from rq import SimpleWorker

        SimpleWorker(["q"], connection=client(1, db=4)).work(burst=True, logging_level="ERROR")

    def test_jobs_results_and_failures(self):
        import framework_tasks as tasks

        jobs = [self.queue.enqueue(tasks.double, i) for i in range(10)]
        last = self.queue.enqueue(tasks.double, 21, depends_on=jobs)
        failing = self.queue.enqueue(tasks.fails)
        self.work()
        self.assertEqual([job.return_value(refresh=True) for job in jobs], [2 * i for i in range(10)])
        self.assertEqual(last.return_value(refresh=True), 42)
        self.assertEqual(failing.get_status(), "failed")
        self.assertEqual(self.queue.failed_job_registry.get_job_ids(), [failing.id])

    def test_retries(self):
        import framework_tasks as tasks
        from rq import Retry

        job = self.queue.enqueue(tasks.once_bitten, uuid.uuid4().hex, retry=Retry(max=2))
        self.work()
        self.assertEqual(job.return_value(refresh=True), 2)

    def test_scheduled_jobs(self):
        import framework_tasks as tasks
        from rq.scheduler import RQScheduler

        job = self.queue.enqueue_in(timedelta(seconds=1), tasks.double, 4)
        scheduler = RQScheduler(["q"], connection=client(2, db=4))
        self.assertEqual(scheduler.acquire_locks(), {"q"})

        def due():
            scheduler.enqueue_scheduled_jobs()
            return self.queue.count == 1

        eventually(due, "a scheduled job is due")
        scheduler.release_locks()
        self.work()
        self.assertEqual(job.return_value(refresh=True), 8)


class Django(unittest.TestCase):
    def test_caches(self):
        from django.core.cache import caches

        for cache in map(caches.__getitem__, settings.CACHES):
            cache.clear()
            value = {"a": [1, 2.5, None], "b": "☃"}
            cache.set("k", value, 100)
            self.assertEqual(cache.get("k"), value)
            self.assertTrue(cache.add("new", 1))
            self.assertFalse(cache.add("new", 2))
            self.assertEqual(cache.incr("new", 5), 6)
            self.assertEqual(cache.decr("new"), 5)
            with self.assertRaises(ValueError):
                cache.incr("missing")
            self.assertFalse(cache.set_many({f"m{i}": i for i in range(100)}, 100))
            self.assertEqual(cache.get_many([f"m{i}" for i in range(101)]), {f"m{i}": i for i in range(100)})
            self.assertEqual(cache.get_or_set("made", lambda: "yes", 10), "yes")
            self.assertTrue(cache.touch("made", 20))
            self.assertFalse(cache.touch("missing", 20))
            cache.delete_many([f"m{i}" for i in range(100)])
            self.assertEqual(cache.get_many([f"m{i}" for i in range(100)]), {})
            cache.set("short", 1, 1)
            eventually(lambda: cache.get("short") is None, "an item expires")
            self.assertTrue(cache.delete("k"))
            self.assertEqual(cache.get("k", "gone"), "gone")

    def test_what_only_the_package_has(self):
        from django.core.cache import caches

        cache = caches["package"]
        cache.clear()
        for i in range(50):
            cache.set(f"page:{i}", i, timeout=None)
        self.assertEqual(cache.ttl("page:1"), None)
        self.assertEqual(len(list(cache.iter_keys("page:*"))), 50)
        self.assertEqual(cache.delete_pattern("page:1*"), 11)
        self.assertTrue(cache.expire("page:2", timeout=100))
        self.assertTrue(99 <= cache.ttl("page:2") <= 100)
        with cache.lock("lock", timeout=60):
            self.assertFalse(cache.lock("lock", timeout=60).acquire(blocking=False))
        self.assertTrue(cache.lock("lock", timeout=60).acquire(blocking=False))

    def test_sessions(self):
        from importlib import import_module

        store = import_module(settings.SESSION_ENGINE).SessionStore
        session = store()
        session["cart"] = [1, 2, 3]
        session.set_expiry(100)
        session.save()
        self.assertEqual(store(session_key=session.session_key)["cart"], [1, 2, 3])
        session.cycle_key()
        self.assertTrue(store().exists(session.session_key))
        session.flush()
        self.assertFalse(store().exists(session.session_key or "x"))


class Flask(unittest.TestCase):
    def test_sessions(self):
        from flask import Flask, session
        from flask_session import Session

        def app(at):
            app = Flask(__name__)
            app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client(at, db=5), SECRET_KEY="not one")
            Session(app)

            @app.route("/")
            def visit():
                session["visits"] = session.get("visits", 0) + 1
                return str(session["visits"])

            return app.test_client()

        # Two instances behind a balancer: the cookie goes from one to the other.
        one, other = app(0), app(1)
        self.assertEqual(one.get("/").text, "1")
        cookie = one.get_cookie("session").value
        other.set_cookie("session", cookie)
        self.assertEqual([other.get("/").text, one.get("/").text, other.get("/").text], ["2", "3", "4"])
        self.assertEqual(app(2).get("/").text, "1")


class Caching(unittest.TestCase):
    def test_client_side_caching(self):
        from redis.cache import CacheConfig

        cached, other = client(0, protocol=3, cache_config=CacheConfig(max_size=1000)), client(1)
        other.mset({f"c{i}": "1" for i in range(100)})
        self.assertEqual([cached.get(f"c{i}") for i in range(100)], [b"1"] * 100)
        before = cached.info("commandstats")["cmdstat_get"]["calls"]
        self.assertEqual([cached.get(f"c{i}") for i in range(100)], [b"1"] * 100)
        self.assertEqual(cached.info("commandstats")["cmdstat_get"]["calls"], before, "all were read from the cache")
        for i in range(100):
            other.set(f"c{i}", "2")
        for i in range(100):
            eventually(lambda i=i: cached.get(f"c{i}") == b"2", "what was cached is invalidated")
        other.flushall()
        eventually(lambda: cached.get("c1") is None, "a flush is heard of")

    def test_aiocache(self):
        from aiocache import RedisCache
        from aiocache.serializers import JsonSerializer

        async def run():
            cache = RedisCache(endpoint="127.0.0.1", port=PORTS[0], db=6, namespace="n", serializer=JsonSerializer())
            await cache.clear()
            await cache.set("k", {"a": 1}, ttl=100)
            self.assertEqual(await cache.get("k"), {"a": 1})
            await cache.multi_set([(f"m{i}", i) for i in range(50)])
            self.assertEqual(await cache.multi_get([f"m{i}" for i in range(51)]), [*range(50), None])
            self.assertEqual(await cache.increment("count", 3), 3)
            self.assertTrue(await cache.exists("k"))
            self.assertEqual(await cache.delete("k"), 1)
            await cache.close()

        asyncio.run(run())


# A lock one may take again, which tells those who wait for it when it is free: as such locks of other languages are made.
ACQUIRE = """
local owner = redis.call('hget', KEYS[1], ARGV[1])
if owner == false and redis.call('exists', KEYS[1]) == 1 then return redis.call('pttl', KEYS[1]) end
redis.call('hincrby', KEYS[1], ARGV[1], 1)
redis.call('pexpire', KEYS[1], ARGV[2])
return nil
"""
RELEASE = """
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then return nil end
if redis.call('hincrby', KEYS[1], ARGV[1], -1) > 0 then
  redis.call('pexpire', KEYS[1], ARGV[2])
  return 0
end
redis.call('del', KEYS[1])
redis.call('publish', KEYS[2], 'free')
return 1
"""


class Locks(unittest.TestCase):
    def test_a_lock_of_redis_py(self):
        taken = []

        def work(at):
            r = client(at)
            for _ in range(10):
                with r.lock("busy", timeout=60, sleep=0.002):
                    taken.append(len(taken))

        client().delete("busy")
        threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
        [thread.start() for thread in threads]
        [thread.join(60) for thread in threads]
        self.assertEqual(taken, list(range(40)))
        lock = client().lock("busy", timeout=60)
        self.assertTrue(lock.acquire())
        self.assertTrue(lock.extend(30) and lock.reacquire() and lock.owned())
        self.assertFalse(client(1).lock("busy").acquire(blocking=False))
        lock.release()
        with self.assertRaises(redis.exceptions.LockError):
            lock.release()

    def test_a_lock_of_scripts_and_messages(self):
        name, channel, held, most, count = "{lock}", "free:{lock}", [0], [0], [0]

        def work(at):
            r, me = client(at), uuid.uuid4().hex
            acquire, release = r.register_script(ACQUIRE), r.register_script(RELEASE)
            for _ in range(10):
                ears = r.pubsub(ignore_subscribe_messages=True)
                ears.subscribe(channel)
                while (left := acquire(keys=[name], args=[me, 30_000])) is not None:
                    assert 0 < left <= 30_000, left
                    ears.get_message(timeout=left / 1000)
                assert acquire(keys=[name], args=[me, 30_000]) is None, "its own lock can be taken again"
                held[0] += 1
                most[0] = max(most[0], held[0])
                count[0] += 1
                held[0] -= 1
                assert release(keys=[name, channel], args=[me, 30_000]) == 0
                assert release(keys=[name, channel], args=[me, 30_000]) == 1
                ears.close()

        client().delete(name)
        threads = [threading.Thread(target=work, args=(at,)) for at in range(6)]
        [thread.start() for thread in threads]
        [thread.join(60) for thread in threads]
        self.assertEqual((count[0], most[0]), (60, 1))
        self.assertFalse(client().exists(name))


if __name__ == "__main__":
    unittest.main()
