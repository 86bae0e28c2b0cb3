# Cache::Memcached::Fast: the classic protocol, and many requests that want no answer.
use strict;
use warnings;
use Cache::Memcached::Fast;
use Test::More;

my @servers = map { "127.0.0.1:$_" } split ' ', $ENV{MEMCACHED_PORTS};
# Any node answers for all keys.
my $turn    = 0;
my $connect = sub {
    Cache::Memcached::Fast->new(
        {   servers => [ $servers[ $turn++ % @servers ] ],
            namespace          => 'perl:',
            compress_threshold => 1000,
            utf8               => 1,
            io_timeout         => 30,
            connect_timeout    => 30,
        }
    );
};
my $m = $connect->();

ok $m->set('a', { x => [ 1, 2 ] }, 60), 'set';
is_deeply $connect->()->get('a'), { x => [ 1, 2 ] }, 'get at another';
$m->set('text', "\x{437}\x{43d}\x{430}\x{447}");
is $m->get('text'), "\x{437}\x{43d}\x{430}\x{447}", 'text';
my $noise = join '', map { chr int rand 256 } 1 .. 300_000;
$m->set('noise', $noise);
ok $m->get('noise') eq $noise, 'noise';
ok $m->add('b', 1), 'add';
ok !$m->add('b', 2), 'add again';
ok $m->replace('b', 3), 'replace';
ok !$m->replace('none', 1), 'replace nothing';
is $m->incr('b', 5), 8, 'incr';
is $m->decr('b'), 7, 'decr';
ok !$m->incr('none'), 'incr of nothing';
is_deeply $m->get_multi('a', 'b', 'none'), { a => { x => [ 1, 2 ] }, b => 7 }, 'get_multi';
$m->set('s', 'b');
$m->append('s', 'c');
$m->prepend('s', 'a');
is $m->get('s'), 'abc', 'append and prepend';
my $found = $m->gets('s');
ok $connect->()->cas('s', $found->[0], 'new'), 'cas';
ok !$m->cas('s', $found->[0], 'newer'), 'cas of what has changed';
is_deeply scalar $m->set_multi([ 'm1', 1 ], [ 'm2', 2, 60 ]), { m1 => 1, m2 => 1 }, 'set_multi';
ok $m->touch('m1', 100), 'touch';
is $m->gat(100, 'm1'), 1, 'gat';
is_deeply scalar $m->delete_multi('m1', 'm2'), { m1 => 1, m2 => 1 }, 'delete_multi';
ok $m->delete('b'), 'delete';
ok !$m->delete('b'), 'delete again';
# In void context no reply is asked for.
$m->set("n$_", $_) for 1 .. 1000;
is $m->get('n1000'), 1000, 'what was said before is done before what is answered';
is scalar(keys %{ $connect->()->get_multi(map {"n$_"} 1 .. 1000) }), 1000, 'requests without replies';
is scalar(keys %{ $m->server_versions }), 1, 'versions';
ok $m->flush_all, 'flush_all';
is $connect->()->get('a'), undef, 'after it was flushed';
done_testing;
