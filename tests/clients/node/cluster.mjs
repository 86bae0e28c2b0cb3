// ioredis' and node-redis' cluster clients against three nodes, forwarding and redirecting.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import Redis from "ioredis";
import { createCluster } from "redis";

const ports = process.env.CLUSTER_PORTS.split(" ").map(Number);

async function configure(redirect, view) {
  for (const port of ports) {
    const node = new Redis(port, "127.0.0.1");
    await node.config("SET", "redirect", redirect, "cluster-view", view);
    node.disconnect();
  }
}

for (const redirect of ["forward", "moved"]) {
  describe(`ioredis, redirect ${redirect}`, () => {
    let cluster;
    before(async () => {
      await configure(redirect, "cluster");
      cluster = new Redis.Cluster([{ host: "127.0.0.1", port: ports[0] }]);
      await cluster.flushall();
    });
    after(() => cluster.disconnect());

    it("finds all nodes and all keys", async () => {
      await Promise.all(Array.from({ length: 200 }, (_, i) => cluster.set(`k${i}`, i)));
      for (let i = 0; i < 200; i++) assert.equal(await cluster.get(`k${i}`), String(i));
      const masters = cluster.nodes("master").map((node) => node.options.port);
      assert.deepEqual(new Set(masters), new Set(ports));
    });

    it("runs pipelines, transactions and scripts", async () => {
      const pipe = cluster.pipeline();
      for (let i = 0; i < 10; i++) pipe.set(`{tag}${i}`, i).get(`{tag}${i}`);
      const answers = await pipe.exec();
      assert.deepEqual(answers[19], [null, "9"]);
      assert.deepEqual(await cluster.multi().set("{t}a", 1).incr("{t}a").exec(), [[null, "OK"], [null, 2]]);
      cluster.defineCommand("twice", { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], 2)" });
      assert.equal(await cluster.twice("n"), 2);
      assert.equal(await cluster.twice("n"), 4);
    });

    it("reads replicas", async () => {
      const reader = new Redis.Cluster([{ host: "127.0.0.1", port: ports[1] }], { scaleReads: "slave" });
      for (let i = 0; i < 100; i++) assert.equal(await reader.get(`k${i}`), String(i));
      reader.disconnect();
    });

    it("subscribes", async () => {
      const listener = new Redis.Cluster([{ host: "127.0.0.1", port: ports[2] }]);
      const heard = new Promise((done) => listener.on("message", (channel, text) => done(`${channel} ${text}`)));
      await listener.subscribe("news");
      await cluster.publish("news", "now");
      assert.equal(await heard, "news now");
      listener.disconnect();
    });
  });

  describe(`node-redis, redirect ${redirect}`, () => {
    it("finds all keys", async () => {
      await configure(redirect, "cluster");
      const cluster = await createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${ports[0]}` }] }).connect();
      for (let i = 0; i < 100; i++) await cluster.set(`c${i}`, String(i));
      for (let i = 0; i < 100; i++) assert.equal(await cluster.get(`c${i}`), String(i));
      await cluster.close();
    });
  });
}

after(() => configure("forward", "standalone"));
