<?php
// Predis, which speaks the protocol in PHP alone. Where there are several nodes, it knows them as a cluster as well.
error_reporting(E_ALL & ~E_DEPRECATED);
require __DIR__ . '/check.php';
require 'Predis/Autoloader.php';
Predis\Autoloader::register();

$ports = explode(' ', getenv('PORTS'));
$here = new Predis\Client(['port' => $ports[0]]);
$there = new Predis\Client(['port' => end($ports)]);
$prefix = 'predis' . getmypid();

check('set', 'OK', (string) $here->set("$prefix:n", '1'));
check('incr', 2, $there->incr("$prefix:n"));
$replies = $here->pipeline(function ($pipe) use ($prefix) {
    for ($n = 0; $n < 50; $n++) {
        $pipe->set("$prefix:$n", $n);
    }
});
check('pipeline', 50, count($replies));
check('mget', ['1', '2', null], $there->mget(["$prefix:1", "$prefix:2", "$prefix:none"]));
check('transaction', [6, 8], $here->transaction(function ($transaction) use ($prefix) {
    $transaction->incrby("$prefix:1", 5);
    $transaction->incrby("$prefix:2", 6);
}));
$there->transaction(['watch' => "$prefix:3", 'cas' => true, 'retry' => 3], function ($transaction) use ($prefix) {
    $seen = $transaction->get("$prefix:3");
    $transaction->multi();
    $transaction->set("$prefix:3", $seen * 10);
});
check('compare and set', '30', $here->get("$prefix:3"));
check('script', '30', $here->eval("return redis.call('GET', KEYS[1])", 1, "$prefix:3"));
$found = iterator_to_array(new Predis\Collection\Iterator\Keyspace($here, "$prefix:*"), false);
check('scan', 51, count(array_unique($found)));
$here->hmset("$prefix:hash", ['a' => 1, 'b' => 2]);
check('hash', ['a' => '1', 'b' => '2'], $there->hgetall("$prefix:hash"));
$here->zadd("$prefix:sorted", ['m' => 1.5]);
check('sorted set', ['m' => '1.5'], $there->zrange("$prefix:sorted", 0, -1, ['withscores' => true]));

$loop = $there->pubSubLoop();
$loop->subscribe("$prefix:channel");
foreach ($loop as $message) {
    if ($message->kind === 'subscribe') {
        $here->publish("$prefix:channel", 'hello');
        continue;
    }
    check('message', 'hello', $message->payload);
    break;
}
$loop->stop(true);

if (count($ports) > 1) {
    $nodes = array_map(fn ($port) => "tcp://127.0.0.1:$port", $ports);
    $cluster = new Predis\Client($nodes, ['cluster' => 'redis']);
    for ($n = 0; $n < 50; $n++) {
        $cluster->set("$prefix:$n", "cluster$n");
    }
    for ($n = 0; $n < 50; $n++) {
        check("cluster get $n", "cluster$n", $cluster->get("$prefix:$n"));
    }
}
verdict();
