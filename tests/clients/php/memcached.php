<?php
// php-memcached, which is libmemcached: the text protocol, many keys, cas, counters, sessions.

require __DIR__ . '/check.php';

$m = new Memcached();
$m->addServer('127.0.0.1', (int) getenv('MEMCACHED_PORT'));
$m->flush();

check('set', true, $m->set('k', 'v', 100));
check('get', 'v', $m->get('k'));
check('a missing key', false, $m->get('missing'));
check('its code', Memcached::RES_NOTFOUND, $m->getResultCode());
check('add', false, $m->add('k', 'w'));
check('its code', Memcached::RES_NOTSTORED, $m->getResultCode());
check('replace', true, $m->replace('k', 'w'));
check('types survive', [1, 2.5, ['a' => true]], ($m->set('php', [1, 2.5, ['a' => true]]) ? $m->get('php') : null));
check('an integer', 42, ($m->set('int', 42) ? $m->get('int') : null));
$big = str_repeat("0123456789\r\n", 40000);
$m->setOption(Memcached::OPT_COMPRESSION, false);
check('a big value', true, $m->set('big', $big));
check('a big value back', true, $m->get('big') === $big);
$m->set('s', 'b');
check('append', true, $m->append('s', 'c'));
check('prepend', true, $m->prepend('s', 'a'));
check('appended', 'abc', $m->get('s'));

$m->set('n', 10);
check('increment', 15, $m->increment('n', 5));
check('decrement', 12, $m->decrement('n', 3));
check('touch', true, $m->touch('n', 100));

$values = [];
for ($i = 0; $i < 500; $i++) {
    $values["m$i"] = "v$i";
}
check('setMulti', true, $m->setMulti($values, 100));
check('getMulti', $values, $m->getMulti(array_keys($values)));
check('deleteMulti', true, $m->deleteMulti(['m0', 'm1'])['m0']);

$extended = $m->get('k', null, Memcached::GET_EXTENDED);
check('cas', true, $m->cas($extended['cas'], 'k', 'new'));
check('cas again', false, $m->cas($extended['cas'], 'k', 'newer'));
check('its code', Memcached::RES_DATA_EXISTS, $m->getResultCode());
check('delete', true, $m->delete('k'));
check('delete again', false, $m->delete('k'));

$version = array_values($m->getVersion());
check('version', 1, preg_match('/^\d+\.\d+\.\d+/', $version[0]));
$stats = array_values($m->getStats());
check('stats', true, isset($stats[0]['curr_items']));

// By default sessions take the binary protocol, which memcached deprecates and Shoal does not speak.
ini_set('memcached.sess_binary_protocol', '0');
ini_set('session.save_handler', 'memcached');
ini_set('session.save_path', '127.0.0.1:' . getenv('MEMCACHED_PORT'));
session_id('shoalsuite');
@session_start(['use_cookies' => 0, 'cache_limiter' => '']);
$_SESSION['user'] = 'ada';
session_write_close();
$_SESSION = [];
@session_start(['use_cookies' => 0, 'cache_limiter' => '']);
check('a session', 'ada', $_SESSION['user'] ?? null);
session_write_close();

verdict();
