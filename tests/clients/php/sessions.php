<?php
// PHP's sessions over both protocols: locked over Redis, so that requests of one visitor take turns, and over memcached.
// Each request is a process of its own, as under a web server; where there are several nodes, they talk to different ones.
require __DIR__ . '/check.php';

$ports = explode(' ', getenv('PORTS'));
$memcachedPorts = explode(' ', getenv('MEMCACHED_PORTS'));

/** Settings by which sessions are kept, as request number $at has them. */
function settings(string $kind, int $at): array
{
    global $ports, $memcachedPorts;
    if ($kind === 'redis') {
        $port = $ports[$at % count($ports)];
        return [
            'session.save_handler=redis',
            "session.save_path=\"tcp://127.0.0.1:$port?prefix=session:\"",
            'redis.session.locking_enabled=1',
            'redis.session.lock_expire=60',
            'redis.session.lock_wait_time=2000',
            'redis.session.lock_retries=-1',
        ];
    }
    // Without hashing: its list of servers would be another one at each node.
    $port = $memcachedPorts[$at % count($memcachedPorts)];
    return ['session.save_handler=memcached', "session.save_path=127.0.0.1:$port", 'memcached.sess_lock_wait_min=2',
        'memcached.sess_lock_wait_max=20', 'memcached.sess_lock_retries=1000'];
}

/** Begins a request that runs $code in the session $id. */
function request(string $kind, int $at, string $id, string $code)
{
    $words = [PHP_BINARY];
    foreach (array_merge(settings($kind, $at), ['session.use_cookies=0', 'session.use_strict_mode=0', 'session.cache_limiter=']) as $setting) {
        array_push($words, '-d', $setting);
    }
    array_push($words, '-r', "session_id('$id'); session_start(); $code");
    $process = proc_open($words, [1 => ['pipe', 'w'], 2 => ['pipe', 'w']], $pipes);
    return [$process, $pipes];
}

/** What a request wrote. */
function answer(array $request): string
{
    [$process, $pipes] = $request;
    $text = stream_get_contents($pipes[1]) . stream_get_contents($pipes[2]);
    proc_close($process);
    return $text;
}

foreach (['redis', 'memcached'] as $kind) {
    $id = $kind . bin2hex(random_bytes(8));
    $count = '$_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1; echo $_SESSION["n"];';
    check("$kind: a new session", '1', answer(request($kind, 0, $id, $count)));
    check("$kind: is known elsewhere", '2', answer(request($kind, 1, $id, $count)));
    check("$kind: another is not", '1', answer(request($kind, 2, "other$id", $count)));

    // Each reads, dawdles and writes: without the lock they would count the same visit twice.
    $requests = [];
    for ($at = 0; $at < 8; $at++) {
        $requests[] = request($kind, $at, $id, '$n = $_SESSION["n"]; usleep(20000); $_SESSION["n"] = $n + 1; echo "in";');
    }
    foreach ($requests as $request) {
        check("$kind: visits at once", 'in', answer($request));
    }
    check("$kind: take turns", '11', answer(request($kind, 0, $id, $count)));
    check("$kind: what is in it", "11\n☃", answer(request($kind, 1, $id, 'echo $_SESSION["n"] . "\n" . ($_SESSION["text"] = "☃");')));
    check("$kind: its end", 'gone', answer(request($kind, 2, $id, 'session_destroy(); echo "gone";')));
    check("$kind: is an end", '1', answer(request($kind, 0, $id, $count)));
}

verdict();
