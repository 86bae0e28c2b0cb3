"""redis-py's cluster client against three nodes, forwarding and redirecting."""

import asyncio
import os
import unittest

import redis
import redis.asyncio
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster

PORTS = [int(port) for port in os.environ["CLUSTER_PORTS"].split()]


def configure(**directives):
    for port in PORTS:
        node = redis.Redis(port=port)
        for name, value in directives.items():
            node.config_set(name.replace("_", "-"), value)
        node.close()


class Cluster:
    """The tests, for each way to treat requests for keys of other nodes."""

    redirect = None

    def setUp(self):
        configure(redirect=self.redirect, cluster_view="cluster")
        self.r = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", PORTS[0])], decode_responses=True)
        self.r.flushall()

    def tearDown(self):
        self.r.close()

    def test_all_nodes_are_known(self):
        self.assertEqual({node.port for node in self.r.get_primaries()}, set(PORTS))
        self.assertEqual(len(self.r.cluster_nodes()), 3)
        self.assertEqual(self.r.cluster_info()["cluster_state"], "ok")
        self.assertTrue(self.r.cluster_shards())

    def test_keys_are_found_wherever_they_are(self):
        for i in range(200):
            self.assertTrue(self.r.set(f"k{i}", i))
        for i in range(200):
            self.assertEqual(self.r.get(f"k{i}"), str(i))
        self.assertEqual(self.r.delete(*[f"k{i}" for i in range(100)]), 100)
        self.assertTrue(self.r.mset_nonatomic({f"m{i}": i for i in range(50)}))
        self.assertEqual(self.r.mget_nonatomic([f"m{i}" for i in range(50)]), [str(i) for i in range(50)])
        self.assertEqual(self.r.cluster_keyslot("k1"), self.r.keyslot("k1"))
        self.assertEqual(self.r.cluster_countkeysinslot(self.r.keyslot("m1")), 1)
        self.assertEqual(self.r.cluster_get_keys_in_slot(self.r.keyslot("m1"), 10), ["m1"])

    def test_pipelines_and_scripts(self):
        pipe = self.r.pipeline()
        for i in range(100):
            pipe.set(f"p{i}", i)
            pipe.get(f"p{i}")
        answers = pipe.execute()
        self.assertEqual(answers[1::2], [str(i) for i in range(100)])
        script = self.r.register_script("return redis.call('incr', KEYS[1])")
        for i in range(10):
            self.assertEqual(script(keys=[f"n{i}"]), 1)

    def test_replicas_are_read(self):
        reader = RedisCluster(
            startup_nodes=[ClusterNode("127.0.0.1", PORTS[1])], decode_responses=True, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN
        )
        for i in range(100):
            self.r.set(f"r{i}", i)
            self.assertEqual(reader.get(f"r{i}"), str(i))
        reader.close()

    def test_asyncio(self):
        async def talk():
            async with redis.asyncio.RedisCluster(host="127.0.0.1", port=PORTS[2], decode_responses=True) as r:
                await asyncio.gather(*[r.set(f"a{i}", i) for i in range(50)])
                return await asyncio.gather(*[r.get(f"a{i}") for i in range(50)])

        self.assertEqual(asyncio.run(talk()), [str(i) for i in range(50)])


class Forwarding(Cluster, unittest.TestCase):
    redirect = "forward"


class Redirecting(Cluster, unittest.TestCase):
    redirect = "moved"

    def test_each_node_is_asked_for_what_it_has(self):
        for i in range(200):
            self.r.set(f"k{i}", i)
        self.assertEqual(self.r.dbsize(target_nodes=RedisCluster.PRIMARIES), 200)
        self.assertEqual(len(list(self.r.scan_iter(count=20))), 200)
        self.assertEqual(len(self.r.keys("k*", target_nodes=RedisCluster.PRIMARIES)), 200)


if __name__ == "__main__":
    try:
        unittest.main()
    finally:
        configure(redirect="forward", cluster_view="standalone")
