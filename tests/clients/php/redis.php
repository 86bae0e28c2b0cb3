<?php
// php-redis: values, types, pipelines, transactions, iteration, serialisation, sessions.

require __DIR__ . '/check.php';

$r = new Redis();
$r->connect('127.0.0.1', (int) getenv('REDIS_PORT'), 5.0);
$r->flushAll();

check('set', true, $r->set('k', 'v'));
check('get', 'v', $r->get('k'));
check('a missing key', false, $r->get('missing'));
$every = implode('', array_map('chr', range(0, 255)));
check('binary set', true, $r->set($every, $every));
check('binary get', $every, $r->get($every));
$big = str_repeat('0123456789', 300000);
$r->set('big', $big);
check('a big value', true, $r->get('big') === $big);
check('set with options', true, $r->set('opt', '1', ['nx', 'ex' => 100]));
check('set nx again', false, $r->set('opt', '2', ['nx']));
check('ttl', true, in_array($r->ttl('opt'), [99, 100]));
check('setex', true, $r->setex('e', 100, 'x'));
check('mset', true, $r->mset(['a' => '1', 'b' => '2']));
check('mget', ['1', '2', false], $r->mget(['a', 'b', 'c']));
check('incr', 2, $r->incr('a'));
check('incrByFloat', 2.5, $r->incrByFloat('a', 0.5));
check('del', 2, $r->del('a', 'b', 'c'));

check('hMSet', true, $r->hMSet('h', ['x' => '1', 'y' => '2']));
check('hGetAll', ['x' => '1', 'y' => '2'], $r->hGetAll('h'));
check('hIncrBy', 11, $r->hIncrBy('h', 'x', 10));
check('rPush', 3, $r->rPush('l', 'a', 'b', 'c'));
check('lRange', ['a', 'b', 'c'], $r->lRange('l', 0, -1));
check('blPop', ['l', 'a'], $r->blPop('l', 1));
check('sAdd', 3, $r->sAdd('s', '1', '2', '3'));
$members = $r->sMembers('s');
sort($members);
check('sMembers', ['1', '2', '3'], $members);
check('zAdd', 2, $r->zAdd('z', 1.5, 'a', 2, 'b'));
check('zRange', ['a' => 1.5, 'b' => 2.0], $r->zRange('z', 0, -1, true));
check('zRangeByScore', ['b'], $r->zRangeByScore('z', '(1.5', '+inf'));
check('type', Redis::REDIS_ZSET, $r->type('z'));
check('a wrong type', false, $r->lPush('z', 'x'));
check('its error', true, str_contains((string) $r->getLastError(), 'WRONGTYPE'));

$pipe = $r->multi(Redis::PIPELINE);
for ($i = 0; $i < 1000; $i++) {
    $pipe->set("p$i", $i);
}
check('pipeline', array_fill(0, 1000, true), $pipe->exec());
check('multi', [true, 2, '2'], $r->multi()->set('t', 1)->incr('t')->get('t')->exec());
$r->watch('t');
$other = new Redis();
$other->connect('127.0.0.1', (int) getenv('REDIS_PORT'), 5.0);
$other->set('t', 9);
check('watch', false, $r->multi()->incr('t')->exec());

$r->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
$seen = [];
$cursor = null;
while (($keys = $r->scan($cursor, 'p*', 100)) !== false) {
    foreach ($keys as $key) {
        $seen[$key] = true;
    }
}
check('scan', 1000, count($seen));
check('select', true, $r->select(5));
check('an empty database', 0, $r->dbSize());
$r->select(0);

$r->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
$r->set('php', ['a' => [1, 2.5, null], 'b' => "\0"]);
check('serialised values', ['a' => [1, 2.5, null], 'b' => "\0"], $r->get('php'));
$r->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_NONE);
check('eval', 3, $r->eval('return ARGV[1] + ARGV[2]', ['1', '2'], 0));

ini_set('session.save_handler', 'redis');
ini_set('session.save_path', 'tcp://127.0.0.1:' . getenv('REDIS_PORT'));
session_id('shoalsuite');
@session_start(['use_cookies' => 0, 'cache_limiter' => '']);
$_SESSION['user'] = 'ada';
session_write_close();
$_SESSION = [];
@session_start(['use_cookies' => 0, 'cache_limiter' => '']);
check('a session', 'ada', $_SESSION['user'] ?? null);
session_destroy();

verdict();
