<?php
// php-memcached, which is libmemcached: both protocols, many keys, cas, counters, sessions.

require __DIR__ . '/check.php';

foreach ([false, true] as $binary) {
    suite($binary);
    session($binary);
}
verdict();

function suite(bool $binary): void
{
    $m = new Memcached();
    $m->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
    $m->addServer('127.0.0.1', (int) getenv('MEMCACHED_PORT'));
    $m->flush();
    $is = fn(string $what) => $what . ($binary ? ' (binary)' : ' (text)');

    check($is('set'), true, $m->set('k', 'v', 100));
    check($is('get'), 'v', $m->get('k'));
    check($is('a missing key'), false, $m->get('missing'));
    check($is('its code'), Memcached::RES_NOTFOUND, $m->getResultCode());
    check($is('add'), false, $m->add('k', 'w'));
    $exists = $binary ? Memcached::RES_DATA_EXISTS : Memcached::RES_NOTSTORED;
    check($is('its code'), $exists, $m->getResultCode());
    check($is('replace'), true, $m->replace('k', 'w'));
    check($is('types survive'), true, $m->set('php', [1, 2.5, ['a' => true]]));
    check($is('types survive'), [1, 2.5, ['a' => true]], $m->get('php'));
    check($is('an integer'), 42, ($m->set('int', 42) ? $m->get('int') : null));
    $big = str_repeat("0123456789\r\n", 40000);
    $m->setOption(Memcached::OPT_COMPRESSION, false);
    check($is('a big value'), true, $m->set('big', $big));
    check($is('a big value back'), true, $m->get('big') === $big);
    $m->set('s', 'b');
    check($is('append'), true, $m->append('s', 'c'));
    check($is('prepend'), true, $m->prepend('s', 'a'));
    check($is('appended'), 'abc', $m->get('s'));

    $m->set('n', 10);
    check($is('increment'), 15, $m->increment('n', 5));
    check($is('decrement'), 12, $m->decrement('n', 3));
    check($is('touch'), true, $m->touch('n', 100));
    if ($binary) {
        check($is('increment from'), 7, $m->increment('from', 1, 7, 100));
        check($is('increment from'), 8, $m->increment('from', 1, 7, 100));
    }

    $values = [];
    for ($i = 0; $i < 500; $i++) {
        $values["m$i"] = "v$i";
    }
    check($is('setMulti'), true, $m->setMulti($values, 100));
    check($is('getMulti'), $values, $m->getMulti(array_keys($values)));
    check($is('deleteMulti'), true, $m->deleteMulti(['m0', 'm1'])['m0']);

    $extended = $m->get('k', null, Memcached::GET_EXTENDED);
    check($is('cas'), true, $m->cas($extended['cas'], 'k', 'new'));
    check($is('cas again'), false, $m->cas($extended['cas'], 'k', 'newer'));
    check($is('its code'), Memcached::RES_DATA_EXISTS, $m->getResultCode());
    check($is('delete'), true, $m->delete('k'));
    check($is('delete again'), false, $m->delete('k'));

    $version = array_values($m->getVersion());
    check($is('version'), 1, preg_match('/^\d+\.\d+\.\d+/', $version[0]));
    $stats = array_values($m->getStats());
    check($is('stats'), true, isset($stats[0]['curr_items']));
    $m->quit();
}

function session(bool $binary): void
{
    ini_set('memcached.sess_binary_protocol', $binary ? '1' : '0');
    ini_set('session.save_handler', 'memcached');
    ini_set('session.save_path', '127.0.0.1:' . getenv('MEMCACHED_PORT'));
    session_id('shoalsuite' . (int) $binary);
    @session_start(['use_cookies' => 0, 'cache_limiter' => '']);
    $_SESSION['user'] = 'ada';
    session_write_close();
    $_SESSION = [];
    @session_start(['use_cookies' => 0, 'cache_limiter' => '']);
    check('a session' . ($binary ? ' (binary)' : ' (text)'), 'ada', $_SESSION['user'] ?? null);
    session_write_close();
}
