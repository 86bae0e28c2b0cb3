// memjs speaks memcached's binary protocol only.
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import memjs from "memjs";

describe("memjs", () => {
  const c = memjs.Client.create(`127.0.0.1:${process.env.MEMCACHED_PORT}`, { timeout: 5, retries: 0 });
  after(() => c.close());

  it("stores and reads", async () => {
    assert.equal(await c.set("k", "v", { expires: 100 }), true);
    assert.equal(String((await c.get("k")).value), "v");
    assert.equal((await c.get("missing")).value, null);
    assert.equal(await c.add("k", "w", {}), false);
    assert.equal(await c.replace("k", "w", {}), true);
    assert.equal(await c.append("k", "x"), true);
    assert.equal(String((await c.get("k")).value), "wx");
    assert.equal(await c.delete("k"), true);
  });

  it("counts", async () => {
    await c.delete("n");
    assert.equal((await c.increment("n", 5, { initial: 10 })).value, 10);
    assert.equal((await c.increment("n", 5, { initial: 10 })).value, 15);
    assert.equal((await c.decrement("n", 20, {})).value, 0);
  });

  it("handles big values", async () => {
    const big = Buffer.alloc(500_000, 7);
    await c.set("big", big, {});
    assert.deepEqual((await c.get("big")).value, big);
  });
});
