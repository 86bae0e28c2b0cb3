// Queues and limits that keep themselves by scripts and transactions of their own kinds. Where there are several nodes, each side
// talks to another.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, it } from "node:test";
import BeeQueue from "bee-queue";
import Bull from "bull";
import Redis from "ioredis";
import { RateLimiterRedis } from "rate-limiter-flexible";

const ports = process.env.PORTS.split(" ").map(Number);
const port = (at) => ports[at % ports.length];
const numbers = [...Array(20).keys()];

describe("bull", () => {
  it("does jobs, delays them, and empties a queue", { timeout: 60_000 }, async () => {
    const name = randomUUID();
    const [one, other] = [0, 1].map((at) => new Bull(name, { redis: { port: port(at) } }));
    one.setMaxListeners(100);
    other.setMaxListeners(100);
    one.process(3, async (job) => job.data.n * 2);
    const jobs = await Promise.all(numbers.map((n) => other.add({ n }, { delay: n === 7 ? 100 : 0 })));
    assert.deepEqual(await Promise.all(jobs.map((job) => job.finished())), numbers.map((n) => n * 2));
    await other.pause();
    await other.add({ n: 1 });
    assert.equal((await one.getJobCounts()).paused, 1);
    // A transaction that looks for keys by a pattern.
    await other.empty();
    assert.equal((await one.getJobCounts()).paused, 0);
    await other.obliterate({ force: true });
    await Promise.all([one.close(), other.close()]);
  });
});

describe("bee-queue", () => {
  it("does jobs and tells who sent them", { timeout: 60_000 }, async () => {
    const name = randomUUID();
    const worker = new BeeQueue(name, { redis: { port: port(0) }, activateDelayedJobs: true });
    const sender = new BeeQueue(name, { redis: { port: port(1) }, isWorker: false });
    worker.process(4, async (job) => job.data.n + 1);
    const done = numbers.map(async (n) => {
      const job = sender.createJob({ n });
      if (n === 7) job.delayUntil(Date.now() + 100);
      const succeeded = new Promise((resolve) => job.on("succeeded", resolve));
      await job.save();
      return succeeded;
    });
    assert.deepEqual(await Promise.all(done), numbers.map((n) => n + 1));
    assert.equal((await sender.checkHealth()).succeeded, 20);
    await Promise.all([worker.close(), sender.close()]);
  });
});

describe("rate-limiter-flexible", () => {
  it("counts, blocks and forgives", { timeout: 60_000 }, async () => {
    const [one, other] = [0, 1].map((at) => new Redis(port(at)));
    const keyPrefix = randomUUID();
    const [here, there] = [one, other].map(
      (storeClient) => new RateLimiterRedis({ storeClient, keyPrefix, points: 3, duration: 600, blockDuration: 600 }),
    );
    const consumed = [];
    for (const limiter of [here, there, here, there, here]) {
      consumed.push(await limiter.consume("who").then(() => true, (refused) => {
        if (refused instanceof Error) throw refused;
        return false;
      }));
    }
    assert.deepEqual(consumed, [true, true, true, false, false]);
    await there.delete("who");
    assert.equal((await here.consume("who")).remainingPoints, 2);
    one.disconnect();
    other.disconnect();
  });
});
