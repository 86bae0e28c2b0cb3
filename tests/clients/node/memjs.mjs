// memjs speaks memcached's binary protocol only. A server that leaves that protocol out closes such a
// connection at once, and this suite then checks that it does so instead of hanging.
import assert from "node:assert/strict";
import net from "node:net";
import { describe, it } from "node:test";
import memjs from "memjs";

const port = Number(process.env.MEMCACHED_PORT);

/** Whether the server answers a binary no-op with a binary reply. */
function speaksBinary() {
  return new Promise((done) => {
    const socket = net.connect(port, "127.0.0.1");
    const noop = Buffer.alloc(24);
    noop[0] = 0x80;
    noop[1] = 0x0a;
    socket.setTimeout(3000, () => done("silent"));
    socket.on("data", (data) => {
      socket.destroy();
      done(data[0] === 0x81);
    });
    socket.on("close", () => done(false));
    socket.on("error", () => done(false));
    socket.write(noop);
  });
}

describe("memjs", () => {
  it("is served or refused, never left waiting", async () => {
    const binary = await speaksBinary();
    assert.notEqual(binary, "silent");
    if (!binary) return;
    const c = memjs.Client.create(`127.0.0.1:${port}`, { timeout: 5, retries: 0 });
    assert.equal(await c.set("k", "v", { expires: 100 }), true);
    assert.equal(String((await c.get("k")).value), "v");
    assert.equal((await c.get("missing")).value, null);
    assert.equal(await c.add("k", "w", {}), false);
    assert.equal(await c.delete("k"), true);
    assert.equal((await c.increment("n", 5, { initial: 10 })).value, 10);
    assert.equal((await c.increment("n", 5, { initial: 10 })).value, 15);
    const big = Buffer.alloc(500_000, 7);
    await c.set("big", big, {});
    assert.deepEqual((await c.get("big")).value, big);
    c.close();
  });
});
