// Queues, sessions, limits and caches as Node's frameworks keep them. Where there are several nodes, each side talks to another.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import KeyvMemcache from "@keyv/memcache";
import KeyvRedis from "@keyv/redis";
import { createAdapter } from "@socket.io/redis-adapter";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { createCache } from "cache-manager";
import { RedisStore as SessionStore } from "connect-redis";
import express from "express";
import { rateLimit } from "express-rate-limit";
import session from "express-session";
import Redis from "ioredis";
import { Keyv } from "keyv";
import { RedisStore as LimitStore } from "rate-limit-redis";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io } from "socket.io-client";

const ports = process.env.PORTS.split(" ").map(Number);
const memcachedPorts = process.env.MEMCACHED_PORTS.split(" ").map(Number);
const port = (at) => ports[at % ports.length];
const patience = { timeout: 60_000 };

async function eventually(holds, what) {
  const until = Date.now() + 45_000;
  while (!(await holds())) {
    assert.ok(Date.now() < until, `never: ${what}`);
    await sleep(10);
  }
}

async function nodeRedis(at) {
  const client = createClient({ url: `redis://127.0.0.1:${port(at)}` });
  client.on("error", () => {});
  await client.connect();
  return client;
}

function listen(app) {
  return new Promise((resolve) => {
    const server = createServer(app).listen(0, "127.0.0.1", () => {
      resolve({ server, url: `http://127.0.0.1:${server.address().port}` });
    });
  });
}

describe("BullMQ", patience, () => {
  const connection = (at) => ({ host: "127.0.0.1", port: port(at), maxRetriesPerRequest: null });
  const name = "bull";
  const done = [];
  let queue, worker, events;

  before(async () => {
    queue = new Queue(name, { connection: connection(0) });
    await queue.obliterate({ force: true });
    events = new QueueEvents(name, { connection: connection(2) });
    await events.waitUntilReady();
    worker = new Worker(
      name,
      async (job) => {
        if (job.data.failures > job.attemptsMade) throw new Error("not yet");
        await job.updateProgress(50);
        done.push(job.name);
        return job.data.value * 2;
      },
      { connection: connection(1), concurrency: 1 },
    );
    worker.on("error", () => {});
    await worker.waitUntilReady();
  });
  after(() => Promise.all([worker.close(), events.close()]).then(() => queue.close()));

  it("runs jobs and returns what they return", async () => {
    const jobs = await queue.addBulk(Array.from({ length: 50 }, (_, i) => ({ name: `job${i}`, data: { value: i } })));
    const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 45_000)));
    assert.deepEqual(results, jobs.map((_, i) => 2 * i));
    assert.equal((await queue.getJobCounts("completed")).completed, 50);
    assert.equal((await queue.getJob(jobs[7].id)).progress, 50);
  });

  it("delays jobs", async () => {
    const began = Date.now();
    const job = await queue.add("later", { value: 1 }, { delay: 500 });
    assert.equal(await job.getState(), "delayed");
    assert.equal(await job.waitUntilFinished(events, 45_000), 2);
    assert.ok(Date.now() - began >= 500);
  });

  it("tries again, and gives up", async () => {
    const backoff = { type: "exponential", delay: 20 };
    const job = await queue.add("again", { value: 3, failures: 2 }, { attempts: 3, backoff });
    assert.equal(await job.waitUntilFinished(events, 45_000), 6);
    const never = await queue.add("never", { failures: 9 }, { attempts: 2 });
    await assert.rejects(never.waitUntilFinished(events, 45_000), /not yet/);
    assert.equal(await never.isFailed(), true);
    assert.equal((await queue.getFailed())[0].attemptsMade, 2);
  });

  it("keeps priorities", async () => {
    await queue.pause();
    done.length = 0;
    const jobs = [];
    for (const priority of [5, 1, 3, 2, 4]) {
      jobs.push(await queue.add(`p${priority}`, { value: 1 }, { priority }));
    }
    assert.equal((await queue.getJobCounts("prioritized")).prioritized, 5);
    await queue.resume();
    await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 45_000)));
    assert.deepEqual(done, ["p1", "p2", "p3", "p4", "p5"]);
  });

  it("repeats jobs", async () => {
    done.length = 0;
    await queue.upsertJobScheduler("tick", { every: 100 }, { name: "tick", data: { value: 1 } });
    await eventually(() => done.filter((name) => name === "tick").length >= 3, "three ticks");
    assert.equal((await queue.getJobSchedulers()).length, 1);
    assert.equal(await queue.removeJobScheduler("tick"), true);
  });

  it("runs children before their parent", async () => {
    done.length = 0;
    const flow = new FlowProducer({ connection: connection(2) });
    const child = (at) => ({ name: `child${at}`, queueName: name, data: { value: at } });
    const tree = await flow.add({ name: "parent", queueName: name, data: { value: 0 }, children: [1, 2, 3].map(child) });
    await tree.job.waitUntilFinished(events, 45_000);
    assert.equal(done.at(-1), "parent");
    assert.deepEqual(Object.values(await tree.job.getChildrenValues()).sort(), [2, 4, 6]);
    await flow.close();
  });
});

describe("Express", patience, () => {
  it("keeps sessions of connect-redis", async () => {
    const clients = [await nodeRedis(0), await nodeRedis(1)];
    const servers = await Promise.all(
      clients.map((client) => {
        const app = express();
        const store = new SessionStore({ client, prefix: "express:" });
        app.use(session({ store, secret: "not one", resave: false, saveUninitialized: false }));
        app.get("/", (request, response) => {
          request.session.visits = (request.session.visits ?? 0) + 1;
          response.send(String(request.session.visits));
        });
        app.get("/leave", (request, response) => request.session.destroy(() => response.send("gone")));
        return listen(app);
      }),
    );
    const first = await fetch(servers[0].url);
    assert.equal(await first.text(), "1");
    const cookie = first.headers.get("set-cookie").split(";")[0];
    const visit = async (at, path = "/") => (await fetch(servers[at].url + path, { headers: { cookie } })).text();
    assert.equal(await visit(1), "2");
    assert.equal(await visit(0), "3");
    assert.equal(await visit(1, "/leave"), "gone");
    assert.equal(await visit(0), "1");
    servers.forEach(({ server }) => server.closeAllConnections() ?? server.close());
    await Promise.all(clients.map((client) => client.close()));
  });

  it("limits rates over all instances", async () => {
    const clients = [await nodeRedis(0), await nodeRedis(1)];
    await clients[0].flushAll();
    const servers = await Promise.all(
      clients.map((client) => {
        const app = express();
        const sendCommand = (...args) => client.sendCommand(args);
        app.use(rateLimit({ windowMs: 60_000, limit: 5, store: new LimitStore({ sendCommand, prefix: "limit:" }) }));
        app.get("/", (_, response) => response.send("in"));
        return listen(app);
      }),
    );
    const seen = [];
    for (let i = 0; i < 8; i++) seen.push((await fetch(servers[i % 2].url)).status);
    assert.deepEqual(seen, [200, 200, 200, 200, 200, 429, 429, 429]);
    servers.forEach(({ server }) => server.closeAllConnections() ?? server.close());
    await Promise.all(clients.map((client) => client.close()));
  });
});

it("Socket.IO reaches rooms on all instances", patience, async () => {
  const servers = [];
  for (const at of [0, 1]) {
    const [publisher, subscriber] = [new Redis(port(at)), new Redis(port(at))];
    const { server, url } = await listen(express());
    const sockets = new Server(server, { adapter: createAdapter(publisher, subscriber) });
    sockets.on("connection", (socket) => socket.join("room"));
    servers.push({ sockets, server, url, publisher, subscriber });
  }
  const clients = servers.map(({ url }) => io(url, { transports: ["websocket"] }));
  const heard = [[], []];
  clients.forEach((client, at) => client.on("news", (text) => heard[at].push(text)));
  await eventually(() => clients.every((client) => client.connected), "both are connected");
  await eventually(async () => (await servers[0].sockets.in("room").fetchSockets()).length === 2, "each knows both");
  for (let i = 0; i < 20; i++) servers[i % 2].sockets.to("room").emit("news", i);
  await eventually(() => heard.every((texts) => texts.length === 20), "all was heard");
  heard.forEach((texts) => assert.deepEqual(texts.sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i)));
  clients.forEach((client) => client.close());
  for (const { sockets, publisher, subscriber } of servers) {
    await sockets.close();
    publisher.disconnect();
    subscriber.disconnect();
  }
});

describe("caches", patience, () => {
  const stores = {
    "keyv over Redis": () => new KeyvRedis(`redis://127.0.0.1:${port(0)}`),
    "keyv over memcached": () => new KeyvMemcache(`127.0.0.1:${memcachedPorts[0]}`),
  };
  for (const [name, store] of Object.entries(stores)) {
    it(name, async () => {
      const keyv = new Keyv({ store: store(), namespace: "keyv" });
      keyv.on("error", () => {});
      const value = { a: [1, null, "☃"] };
      await keyv.set("k", value);
      assert.deepEqual(await keyv.get("k"), value);
      assert.deepEqual(await keyv.get(["k", "missing"]), [value, undefined]);
      assert.equal(await keyv.delete("k"), true);
      assert.equal(await keyv.get("k"), undefined);
      await keyv.set("short", 1, 1000);
      await eventually(async () => (await keyv.get("short")) === undefined, "an item expires");
      await keyv.disconnect();
    });
  }

  it("cache-manager", async () => {
    const caches = [0, 1].map((at) => createCache({ stores: [new Keyv({ store: new KeyvRedis(`redis://127.0.0.1:${port(at)}`) })] }));
    await caches[0].clear();
    let made = 0;
    const make = () => ++made;
    for (const cache of [...caches, ...caches]) assert.equal(await cache.wrap("wrapped", make, 60_000), 1);
    await caches[0].mset([{ key: "a", value: 1 }, { key: "b", value: 2, ttl: 60_000 }]);
    assert.deepEqual(await caches[1].mget(["a", "b", "c"]), [1, 2, undefined]);
    await caches[1].del("a");
    assert.equal(await caches[0].get("a"), undefined);
    await Promise.all(caches.map((cache) => cache.disconnect()));
  });
});
