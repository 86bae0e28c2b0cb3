// ioredis: what its users lean on: automatic pipelining, buffers, streams of keys, Lua commands.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import Redis from "ioredis";

const port = Number(process.env.REDIS_PORT);

describe("ioredis", () => {
  let r;
  before(() => {
    r = new Redis(port, "127.0.0.1", { maxRetriesPerRequest: 1 });
  });
  beforeEach(() => r.flushall());
  after(() => r.disconnect());

  it("keeps bytes", async () => {
    const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await r.set(every, every);
    assert.deepEqual(await r.getBuffer(every), every);
    assert.equal(await r.set("k", "v", "PX", 100000, "NX"), "OK");
    assert.equal(await r.set("k", "v", "NX"), null);
    assert.ok((await r.pttl("k")) > 90000);
  });

  it("pipelines", async () => {
    const pipe = r.pipeline();
    for (let i = 0; i < 2000; i++) pipe.set(`k${i}`, i);
    pipe.get("k1999").incr("nan").set("s", "x").incr("s");
    const results = await pipe.exec();
    assert.equal(results.length, 2004);
    assert.deepEqual(results[2000], [null, "1999"]);
    assert.match(results[2003][0].message, /not an integer/);
    const auto = new Redis(port, "127.0.0.1", { enableAutoPipelining: true });
    assert.deepEqual(await Promise.all([auto.get("k1"), auto.get("k2"), auto.get("k3")]), ["1", "2", "3"]);
    auto.disconnect();
  });

  it("runs transactions", async () => {
    assert.deepEqual(await r.multi().set("a", 1).incr("a").exec(), [[null, "OK"], [null, 2]]);
    await assert.rejects(r.multi().set("a").exec(), /EXECABORT|wrong number/);
  });

  it("knows the types", async () => {
    await r.hset("h", { a: 1, b: 2 });
    assert.deepEqual(await r.hgetall("h"), { a: "1", b: "2" });
    await r.zadd("z", 1, "a", 2, "b");
    assert.deepEqual(await r.zrange("z", 0, -1, "WITHSCORES"), ["a", "1", "b", "2"]);
    assert.deepEqual(await r.lpush("l", 1, 2, 3), 3);
    assert.deepEqual(await r.sort("l", "DESC"), ["3", "2", "1"]);
  });

  it("defines commands in Lua", async () => {
    r.defineCommand("twice", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1] * 2)" });
    assert.equal(await r.twice("n", 21), 42);
    assert.equal(await r.twice("n", 4), 50);
  });

  it("delivers messages", async () => {
    const sub = new Redis(port);
    await sub.subscribe("a", "b");
    const got = new Promise((done) => sub.on("message", (channel, message) => done([channel, message])));
    assert.equal(await r.publish("b", "hello"), 1);
    assert.deepEqual(await got, ["b", "hello"]);
    sub.disconnect();
  });

  it("streams keys", async () => {
    await Promise.all(Array.from({ length: 500 }, (_, i) => r.set(`s:${i}`, "")));
    const seen = new Set();
    for await (const keys of r.scanStream({ match: "s:*", count: 40 })) keys.forEach((k) => seen.add(k));
    assert.equal(seen.size, 500);
  });
});
