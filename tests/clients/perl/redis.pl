# Redis.pm and Redis::Fast, which is hiredis' parser in Perl.
use strict;
use warnings;
use Redis;
use Redis::Fast;
use Test::More;

my @ports = split ' ', $ENV{PORTS};
my $turn  = 0;

for my $class ('Redis', 'Redis::Fast') {
    my $connect = sub {
        my $port = shift || $ports[ $turn++ % @ports ];
        $class->new(server => "127.0.0.1:$port", reconnect => 10, every => 1000, encoding => undef);
    };
    my $r = $connect->();
    $r->flushall;

    is $r->set('k', 1), 'OK', "$class: set";
    is $r->incr('k'), 2, 'incr';
    is_deeply [ $r->mget('k', 'none') ], [ 2, undef ], 'mget';
    my $every = join '', map { chr } 0 .. 255;
    $r->set('bytes', $every);
    is $r->get('bytes'), $every, 'bytes';
    $r->hmset('h', a => 1, b => 2);
    is_deeply { $r->hgetall('h') }, { a => 1, b => 2 }, 'hgetall';
    $r->zadd('z', 1, 'a', 2, 'b');
    is_deeply [ $r->zrange('z', 0, -1, 'WITHSCORES') ], [ 'a', 1, 'b', 2 ], 'zrange';

    my @replies;
    $r->set("p$_", $_, sub { push @replies, $_[0] }) for 1 .. 50;
    $r->wait_all_responses;
    is_deeply \@replies, [ ('OK') x 50 ], 'replies to a pipeline';
    my %seen;
    my $cursor = 0;
    do {
        ($cursor, my $keys) = $r->scan($cursor, 'MATCH', 'p*');
        $seen{$_}++ for @$keys;
    } while ($cursor);
    is scalar(keys %seen), 50, 'scan';

    $r->multi;
    $r->set('m', 1);
    $r->incr('m');
    is_deeply [ $r->exec ], [ 'OK', 2 ], 'a transaction';
    $r->watch('m');
    $connect->()->set('m', 7);
    $r->multi;
    $r->set('m', 8);
    my @lost = $r->exec;
    ok !defined $lost[0], 'a transaction that is late';
    is_deeply [ $r->eval('return {1, ARGV[1], false}', 1, 'k', 'a') ], [ 1, 'a', undef ], 'eval';
    ok !eval { $r->lpush('k', 1); 1 }, 'an error';
    like $@, qr/WRONGTYPE/, 'which says what it is';

    my $listener = $connect->();
    my @heard;
    $listener->subscribe('news', sub { push @heard, $_[0] });
    $listener->psubscribe('new*', sub { push @heard, "pattern: $_[0]" });
    $connect->()->publish('news', 'hello');
    for (1 .. 60) {
        last if @heard == 2;
        $listener->wait_for_messages(1);
    }
    is_deeply [ sort @heard ], [ 'hello', 'pattern: hello' ], 'messages';

    # It looks whether its connection is still open before it says something, and connects anew.
    my $port   = $ports[ $turn++ % @ports ];
    my $victim = $connect->($port);
    for (1 .. 5) {
        $connect->($port)->client('kill', 'id', $victim->client('id'));
        is $victim->get('k'), 2, 'after it was killed';
    }
}
done_testing;
