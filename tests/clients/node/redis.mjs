// node-redis in both protocol versions.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { createClient, WatchError } from "redis";

const url = `redis://127.0.0.1:${process.env.REDIS_PORT}`;

for (const RESP of [2, 3]) {
  describe(`node-redis, RESP${RESP}`, () => {
    let r;
    before(async () => {
      r = createClient({ url, RESP });
      r.on("error", () => {});
      await r.connect();
    });
    beforeEach(() => r.flushAll());
    after(() => r.close());

    it("keeps values", async () => {
      assert.equal(await r.set("k", "v", { EX: 100 }), "OK");
      assert.equal(await r.get("k"), "v");
      assert.ok((await r.ttl("k")) >= 99);
      assert.equal(await r.get("missing"), null);
      const text = "snow ☃ \u0000 \r\n";
      await r.set(text, text);
      assert.equal(await r.get(text), text);
      const big = "x".repeat(5_000_000);
      await r.set("big", big);
      assert.equal(await r.get("big"), big);
    });

    it("pipelines by itself", async () => {
      const keys = Array.from({ length: 3000 }, (_, i) => `k${i}`);
      await Promise.all(keys.map((k, i) => r.set(k, String(i))));
      assert.deepEqual(await r.mGet(keys), keys.map((_, i) => String(i)));
    });

    it("knows the types", async () => {
      assert.equal(await r.hSet("h", { a: "1", b: "2" }), 2);
      assert.deepEqual({ ...(await r.hGetAll("h")) }, { a: "1", b: "2" });
      assert.equal(await r.rPush("l", ["a", "b", "c"]), 3);
      assert.deepEqual(await r.lRange("l", 0, -1), ["a", "b", "c"]);
      assert.equal(await r.sAdd("s", ["a", "b"]), 2);
      assert.deepEqual([...(await r.sMembers("s"))].sort(), ["a", "b"]);
      await r.zAdd("z", [{ score: 1.5, value: "a" }, { score: 2, value: "b" }]);
      assert.deepEqual(await r.zRangeWithScores("z", 0, -1), [
        { value: "a", score: 1.5 },
        { value: "b", score: 2 },
      ]);
      assert.equal(await r.zScore("z", "a"), 1.5);
      assert.equal(await r.setBit("bits", 7, 1), 0);
      assert.equal(await r.bitCount("bits"), 1);
      assert.equal(await r.pfAdd("p", ["a", "b"]), 1);
      assert.equal(await r.pfCount("p"), 2);
      await assert.rejects(r.incr("h"), /WRONGTYPE/);
    });

    it("runs transactions", async () => {
      assert.deepEqual(await r.multi().set("a", "1").incr("a").get("a").exec(), ["OK", 2, "2"]);
      const other = r.duplicate();
      await other.connect();
      await other.watch("a");
      await r.set("a", "9");
      await assert.rejects(other.multi().incr("a").exec(), WatchError);
      await other.close();
    });

    it("delivers messages", async () => {
      const sub = r.duplicate();
      await sub.connect();
      const got = [];
      await sub.subscribe("c", (message, channel) => got.push([channel, message]));
      await sub.pSubscribe("c*", (message, channel) => got.push([channel, message]));
      assert.equal(await r.publish("c", "hello"), 2);
      await new Promise((done) => setTimeout(done, 200));
      assert.deepEqual(got, [["c", "hello"], ["c", "hello"]]);
      await sub.close();
    });

    it("iterates", async () => {
      await Promise.all(Array.from({ length: 1000 }, (_, i) => r.set(`it:${i}`, "")));
      const seen = new Set();
      for await (const keys of r.scanIterator({ MATCH: "it:*", COUNT: 50 })) {
        for (const key of [keys].flat()) seen.add(key);
      }
      assert.equal(seen.size, 1000);
    });

    it("waits", async () => {
      const other = r.duplicate();
      await other.connect();
      const waiting = other.blPop("q", 5);
      await r.rPush("q", "job");
      assert.deepEqual({ ...(await waiting) }, { key: "q", element: "job" });
      await other.close();
    });
  });
}
